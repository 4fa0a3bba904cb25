import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from '../../src/executor/inject/index.ts';
import { runTool } from '../../src/host/index.ts';
import type { Alcove, OpenOptions } from '../../src/index.ts';
import { type Case, type Contender, type Readings, timed, timer } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import { image, memoryMiB, type World } from '../world.ts';

/** What a session runs for `true`; the same on every side. */
export const shellTrue = ['/bin/sh', '-lc', 'true'] as const;

/** A lease of a session whose machine runs. */
export const activeSession: Case = {
  title: 'active session',
  rounds: 10,
  rows: [
    {
      title: 'acquire of an active session, a command, release: over the bare command',
      unit: 'ms',
      atMost: 1,
      ours: { contender: 'alcove', figure: 'over' },
    },
    {
      title: 'acquire of an active session, a command, release',
      unit: 'ms',
      ours: { contender: 'alcove' },
      peers: [
        { contender: 'alcove', figure: 'bare', name: 'of ours: the bare command' },
        { contender: 'alcove', figure: 'lease', name: 'acquire and release, no command' },
        { contender: 'docker exec' },
      ],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await engineForSessions(world));
    const id = randomUUID();
    const vm = await alcove.vm(await make(alcove, id));
    const bare = () => vm.exec({ command: shellTrue, cwd: '/work', nonZeroExit: 'error' });
    const docker = await world.docker();
    const container = await docker?.start();
    return [
      {
        name: 'alcove',
        run: async () => {
          const all = {
            total: [] as number[],
            bare: [] as number[],
            over: [] as number[],
            lease: [] as number[],
          };
          for (let repeat = 0; repeat < 20; repeat++) {
            // What comes second finds the guest warmer.
            const first = repeat % 2 === 0 ? await timed(bare) : undefined;
            const whole = await timed(() => use(alcove, id));
            const alone = first ?? (await timed(bare));
            all.total.push(whole);
            all.bare.push(alone);
            all.over.push(whole - alone);
            all.lease.push(await timed(async () => (await alcove.sessions.acquire(id)).release()));
          }
          return all;
        },
      },
      ...(docker && container ? [timer('docker exec', () => docker.exec(container, shellTrue), 20)] : []),
    ];
  },
};

/** A lease of a session whose machine is stopped, and the stop. */
export const stoppedSession: Case = {
  title: 'stopped session',
  rounds: 10,
  rows: [
    {
      title: 'acquire of a suspended session to the end of its first command',
      unit: 'ms',
      ours: { contender: 'suspended', name: 'alcove' },
      peers: [
        { contender: 'docker', name: 'docker start, exec', atMost: 1 },
        { contender: 'suspended', figure: 'acquire', name: 'of ours: the acquire' },
        { contender: 'suspended', figure: 'command', name: 'of ours: the command' },
      ],
    },
    {
      title: 'acquire of a session that was shut down to the end of its first command',
      unit: 'ms',
      ours: { contender: 'shut down', name: 'alcove' },
      peers: [{ contender: 'docker', name: 'docker start, exec' }],
    },
    {
      title: 'stop of a session with its memory',
      unit: 'ms',
      ours: { contender: 'suspended', figure: 'stop', name: 'alcove' },
      peers: [{ contender: 'docker', figure: 'stop', name: 'docker stop' }],
    },
    {
      title: 'shutdown of a session',
      unit: 'ms',
      ours: { contender: 'shut down', figure: 'stop', name: 'alcove' },
      peers: [{ contender: 'docker', figure: 'stop', name: 'docker stop' }],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await engineForSessions(world));
    const docker = await world.docker();
    return [
      await stopped(alcove, 'suspended', 'suspend'),
      await stopped(alcove, 'shut down', 'shutdown'),
      ...(docker ? [await stoppedContainer(docker)] : []),
    ];
  },
};

const smallFiles = 100;

/** A lease of a session that nobody has used, and of one of which there is only a backup. */
export const newSession: Case = {
  title: 'new session',
  rounds: 8,
  rows: [
    {
      title: 'acquire of a new session to the end of its first command (template start)',
      unit: 'ms',
      ours: { contender: 'alcove' },
      peers: [{ contender: 'docker run --detach, exec' }, { contender: 'docker run' }],
    },
    {
      title: `acquire of a session from its backup of ${smallFiles} files of 1 KiB to the end of its first command`,
      unit: 'ms',
      ours: { contender: 'from backup', name: 'alcove' },
      peers: [
        { contender: 'docker run, cp, exec', name: 'docker run --detach, zstd -d | docker cp, exec' },
        { contender: 'alcove', name: 'of ours: a new session' },
      ],
    },
  ],
  async prepare(world, owned) {
    const backupDestination = directory(world, owned, 'backups');
    const alcove = owned.use(await engineForSessions(world, { backupDestination }));
    const docker = await world.docker();
    const tree = directory(world, owned, 'tree');
    for (let index = 0; index < smallFiles; index++) writeFileSync(join(tree, `f${index}`), 'x'.repeat(1024));
    return [
      await fromBackup(alcove, tree),
      {
        name: 'alcove',
        run: async () => {
          const id = randomUUID();
          const total = await timed(() => use(alcove, id));
          await alcove.sessions.terminate(id);
          return { total };
        },
      },
      ...(docker ? ofNewContainer(docker) : []),
      ...(docker ? [await containerWithTree(docker, tree, backupDestination)] : []),
    ];
  },
};

async function fromBackup(alcove: Alcove, tree: string): Promise<Contender> {
  const { sessions } = alcove;
  const id = randomUUID();
  {
    await using lease = await sessions.acquire(id);
    await inject(lease.vm.files, { from: tree, to: `${lease.workdir}/tree` });
  }
  await sessions.stop(id);
  await sessions.backup(id);
  return {
    name: 'from backup',
    run: async () => {
      await sessions.terminate(id);
      return { total: await timed(() => use(alcove, id, `test -e tree/f${smallFiles - 1}`)) };
    },
  };
}

/** The nearest to it: a new container into which an archive of the same files is copied. */
async function containerWithTree(docker: Docker, tree: string, dir: string): Promise<Contender> {
  const archive = join(dir, 'peer.tar.zst');
  await runTool('tar', ['-C', tree, '--zstd', '-cf', archive, '.']);
  return {
    name: 'docker run, cp, exec',
    run: async () => {
      let container = '';
      const total = await timed(async () => {
        container = await docker.start();
        await runTool('/bin/sh', ['-c', `zstd -dc '${archive}' | docker cp - ${container}:/root`]);
        await docker.exec(container, ['/bin/sh', '-lc', `test -e /root/f${smallFiles - 1}`]);
      });
      await docker.removeContainers(container);
      return { total };
    },
  };
}

/** A turn ends with the stop, as sessions are stopped: what it leaves to be done is done in the turns of the others. */
async function stopped({ sessions }: Alcove, name: string, mode: 'suspend' | 'shutdown'): Promise<Contender> {
  const id = randomUUID();
  await (await sessions.acquire(id)).release();
  await sessions.stop(id, { mode });
  return {
    name,
    run: async () => {
      const start = performance.now();
      const lease = await sessions.acquire(id);
      const acquire = performance.now() - start;
      const command = await timed(() => lease.exec('true', { nonZeroExit: 'error' }));
      await lease.release();
      const stop = await timed(() => sessions.stop(id, { mode }));
      return { stop, acquire, command, total: acquire + command };
    },
  };
}

async function stoppedContainer(docker: Docker): Promise<Contender> {
  const container = await docker.start('--init');
  await docker.do('stop', container);
  return {
    name: 'docker',
    run: async () => {
      const total = await timed(async () => {
        await docker.do('start', container);
        await docker.exec(container, shellTrue);
      });
      return { total, stop: await timed(() => docker.do('stop', container)) };
    },
  };
}

function ofNewContainer(docker: Docker): Contender[] {
  const detached = async (): Promise<Readings> => {
    let container = '';
    const total = await timed(async () => {
      container = await docker.start();
      await docker.exec(container, shellTrue);
    });
    await docker.removeContainers(container);
    return { total };
  };
  return [
    { name: 'docker run --detach, exec', run: detached },
    timer('docker run', () => docker.run(shellTrue)),
  ];
}

/** An engine whose sessions go by the bench's image, and which stops and removes none by itself. */
export function engineForSessions(world: World, sessions: OpenOptions['sessions'] = {}): Promise<Alcove> {
  const hourMs = 3_600_000;
  const idle = { idleShutdownMs: hourMs, pruneAfterMs: hourMs, maintenanceIntervalMs: hourMs };
  return world.engine({ sessions: { image, memoryMiB, ...idle, ...sessions } });
}

/** A new directory for a case. */
export function directory(world: World, owned: AsyncDisposableStack, name: string): string {
  const path = join(world.workDir, name);
  mkdirSync(path);
  owned.defer(() => rmSync(path, { recursive: true }));
  return path;
}

/** One use of a session: a lease, a command, the release. */
export async function use({ sessions }: Alcove, id: string, command = 'true'): Promise<void> {
  const lease = await sessions.acquire(id);
  await lease.exec(command, { nonZeroExit: 'error' });
  await lease.release();
}

/** Makes a session; resolves with the id of its machine. */
async function make({ sessions }: Alcove, id: string): Promise<string> {
  await using lease = await sessions.acquire(id);
  return lease.vm.id;
}
