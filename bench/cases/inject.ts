import { spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from '../../src/executor/inject/index.ts';
import { packPath } from '../../src/guest/index.ts';
import type { Vm } from '../../src/index.ts';
import { runEngine } from '../engine-process.ts';
import { type Case, type Contender, type Entry, type Goal, timed, timer } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import { image, memoryMiB, noOp, type World } from '../world.ts';

/** At least 0.7 times the throughput of a bare stream. */
const bareGoal = 1 / 0.7;
/** 150 MB, in MiB. */
const memoryGoal = 143;

const folders = 100;
const filesOfEach = 100;
const smallBytes = 1024;
const largeBytes = 500_000_000;

/** The folder on the other side. */
const into = '/in';
/** Also waits until nothing is being written any more. */
const clear = `busybox rm -rf ${into} && busybox sync`;

/** Ten thousand small files into a machine that runs. */
export const injectSmallFiles: Case = injectCase('inject of 10,000 files of 1 KiB', {
  rounds: 5,
  peers: [{ contender: 'files in the machine', name: 'a program in the machine that makes such files' }],
  write: (folder) => {
    const bytes = Buffer.alloc(smallBytes);
    for (let index = 0; index < folders * filesOfEach; index++) {
      const directory = join(folder, `d${index % folders}`);
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `f${index}`), randomFillSync(bytes));
    }
  },
  contenders: (vm) => [
    timer('files in the machine', async () => {
      const command = ['/bin/files', into, folders, filesOfEach, smallBytes].map(String);
      await vm.exec({ command: command as [string, ...string[]], nonZeroExit: 'error' });
    }),
  ],
});

/** One large file. */
export const injectLargeFile: Case = injectCase('inject of a file of 500 MB', {
  rounds: 3,
  write: (folder) => {
    const bytes = Buffer.alloc(1_000_000);
    const file = openSync(join(folder, 'large'), 'w');
    for (let written = 0; written < largeBytes; written += bytes.length)
      writeSync(file, randomFillSync(bytes));
    closeSync(file);
  },
});

interface Kind {
  rounds: number;
  /** Makes what is injected. */
  write: (folder: string) => void;
  /** Besides the usual ones. */
  peers?: readonly (Entry & Goal)[];
  contenders?: (vm: Vm) => Contender[];
}

function injectCase(title: string, { rounds, write, peers = [], contenders = () => [] }: Kind): Case {
  return {
    title,
    rounds,
    rows: [
      {
        title,
        unit: 'ms',
        ours: { contender: 'alcove' },
        peers: [
          { contender: 'bare stream', name: 'bare stream of as many bytes', atMost: bareGoal },
          ...peers,
          { contender: 'docker cp' },
          { contender: 'tar to docker', name: 'tar | docker exec -i tar x' },
        ],
      },
      {
        title: `${title}: most memory of the engine`,
        unit: 'MiB',
        ours: { contender: 'alcove run --inject', figure: 'memory' },
        judgedBy: 'max',
        atMost: memoryGoal,
      },
    ],
    async prepare(world, owned) {
      const folder = join(world.workDir, 'inject');
      mkdirSync(folder);
      owned.defer(() => rmSync(folder, { recursive: true }));
      write(folder);
      const memory = await memoryOfEngine(world, folder);
      const alcove = owned.use(await world.engine());
      const vm = owned.use(await alcove.create({ image, memoryMiB }));
      await vm.start();
      const docker = await world.docker();
      return [
        cleaning(
          vm,
          timer('alcove', () => inject(vm.files, { from: folder, to: into })),
        ),
        await bareStream(vm, folder),
        ...contenders(vm).map((contender) => cleaning(vm, contender)),
        ...(docker ? ofDocker(docker, await docker.start(), folder) : []),
        { name: 'alcove run --inject', run: async () => ({ memory }) },
      ];
    },
  };
}

/** With what it made removed after each turn. */
function cleaning(vm: Vm, { name, run }: Contender): Contender {
  return {
    name,
    run: async () => {
      const readings = await run();
      await vm.exec({ command: clear, nonZeroExit: 'error' });
      return readings;
    },
  };
}

/** As many bytes as inject sends, through the same channel, to a command that reads them to their end. */
async function bareStream(vm: Vm, folder: string): Promise<Contender> {
  let bytes = 0;
  for await (const chunk of packPath(folder, { chunks: 'borrowed' })) bytes += chunk.length;
  const chunk = randomFillSync(Buffer.alloc(65_536));
  return timer('bare stream', async () => {
    await using process = await vm.spawn({ command: 'exec busybox cat > /dev/null', stdin: 'pipe' });
    for (let left = bytes; left > 0; left -= chunk.length) await process.stdin.write(chunk.subarray(0, left));
    await process.stdin.end();
    const { exitCode } = await process.exited;
    if (exitCode !== 0) throw new Error(`cat ended with ${exitCode}`);
  });
}

/** The most that a process had which opened the state directory, injected, and ended: this one has had much else. */
async function memoryOfEngine(world: World, folder: string): Promise<number> {
  const words = ['--state-dir', world.stateDir, 'run', '--image', image, '--inject', `${folder}:${into}`];
  const { memory } = await runEngine([...words, '--', ...noOp]);
  return memory;
}

function ofDocker(docker: Docker, container: string, folder: string): Contender[] {
  const turn = (name: string, copy: () => Promise<unknown>): Contender => ({
    name,
    run: async () => {
      await docker.exec(container, ['/bin/busybox', 'mkdir', into]);
      const total = await timed(copy);
      await docker.exec(container, ['/bin/sh', '-c', clear]);
      return { total };
    },
  });
  return [
    turn('docker cp', () => docker.do('cp', `${folder}/.`, `${container}:${into}`)),
    turn('tar to docker', async () => {
      const line = `tar -C '${folder}' -c . | docker exec -i ${container} /bin/busybox tar x -C ${into}`;
      const stdio = ['ignore', 'ignore', 'inherit'] as const;
      const [code] = await once(spawn('/bin/sh', ['-c', line], { stdio: [...stdio] }), 'exit');
      if (code !== 0) throw new Error(`${line} ended with ${code}`);
    }),
  ];
}
