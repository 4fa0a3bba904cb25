import { randomFillSync } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { inject } from '../../src/executor/inject/index.ts';
import { runTool } from '../../src/host/index.ts';
import type { Alcove } from '../../src/index.ts';
import { runEngine } from '../engine-process.ts';
import { type Case, type Contender, type Readings, timed } from '../measure.ts';
import { image, memoryMiB } from '../world.ts';
import { directory, engineForSessions } from './sessions.ts';

/** At least half the throughput of the host's own tools. */
const hostGoal = 2;
/** 150 MB, in MiB. */
const memoryGoal = 143;

const mixed = { smallFiles: 4000, smallBytes: 5000, largeFiles: 18, largeBytes: 10_000_000 };
const volume = { smallFiles: 0, smallBytes: 0, largeFiles: 4, largeBytes: 500_000_000 };

type Tree = typeof mixed;

/** A workdir of files of all sizes, half of their bytes text. */
export const backupOfTree: Case = {
  title: 'backup of a tree',
  rounds: 3,
  rows: [
    ...backupRows('a tree of 4,000 small files and 18 large ones', mixed),
    {
      title: 'backup of it, throughput',
      unit: 'MB/s',
      ours: { contender: 'alcove', figure: 'backupRate' },
      peers: [
        { contender: 'host', figure: 'backupRate', name: 'tar | zstd -3' },
        { contender: 'bare stream', figure: 'rate', name: 'bare stream out of the machine' },
      ],
    },
    {
      title: 'restore of it, throughput',
      unit: 'MB/s',
      ours: { contender: 'alcove', figure: 'restoreRate' },
      peers: [{ contender: 'host', figure: 'restoreRate', name: 'zstd -d | tar x' }],
    },
  ],
  async prepare(world, owned) {
    const tree = directory(world, owned, 'tree');
    writeTree(tree, mixed);
    const backupDestination = directory(world, owned, 'backups');
    const alcove = owned.use(await engineForSessions(world, { backupDestination, maxVms: 2 }));
    const { sessions } = alcove;
    const id = 'tree';
    {
      await using lease = await sessions.acquire(id);
      await inject(lease.vm.files, { from: tree, to: `${lease.workdir}/tree` });
    }
    return [
      {
        name: 'alcove',
        run: async () => {
          await sessions.stop(id);
          const backup = await timed(() => sessions.backup(id));
          const restore = await timed(() => sessions.restore(id));
          return readings(mixed, { backup, restore });
        },
      },
      onHost(tree, mixed, directory(world, owned, 'host')),
      bareStream(alcove, id),
    ];
  },
};

/** As many zeros, from a command of the session's machine to the end of its output: what the channel gives. */
function bareStream({ sessions }: Alcove, id: string): Contender {
  return {
    name: 'bare stream',
    run: async () => {
      await using lease = await sessions.acquire(id);
      let bytes = 0;
      const ms = await timed(async () => {
        const command = `busybox dd if=/dev/zero bs=100000 count=${bytesOf(mixed) / 100_000} 2>/dev/null`;
        await using process = await lease.spawn(command);
        for await (const chunk of process.stdout) bytes += chunk.length;
        await process.exited;
      });
      if (bytes !== bytesOf(mixed)) throw new Error(`the stream ended after ${bytes} bytes`);
      return { rate: bytes / 1e6 / (ms / 1000) };
    },
  };
}

/** A volume that no engine could hold in its memory, by engines in processes of their own. */
export const backupOfVolume: Case = {
  title: 'backup of a volume',
  rounds: 1,
  warmUps: 0,
  rows: [
    ...backupRows('a volume of 2 GB, by command line', volume),
    ...(['backup', 'restore'] as const).map((what) => ({
      title: `${what} of a volume of 2 GB: most memory of the engine`,
      unit: 'MiB' as const,
      ours: { contender: 'alcove', figure: `${what}Memory` },
      judgedBy: 'max' as const,
      atMost: memoryGoal,
    })),
  ],
  async prepare(world, owned) {
    const tree = directory(world, owned, 'tree');
    writeTree(tree, volume);
    const host = directory(world, owned, 'host');
    const archive = join(host, 'by-hand.tar.zst');
    await runTool('/bin/sh', ['-c', packLine(tree, archive)]);
    const env = {
      ALCOVE_SESSIONS_IMAGE: image,
      ALCOVE_SESSIONS_MEMORY_MIB: String(memoryMiB),
      ALCOVE_SESSIONS_DISK_MIB: '8192',
      ALCOVE_SESSIONS_BACKUP_DESTINATION: directory(world, owned, 'backups'),
    };
    const engine = (...words: string[]) =>
      runEngine(['--state-dir', world.stateDir, 'session', ...words], env);
    return [
      {
        name: 'alcove',
        run: async () => {
          const restore = await engine('restore', 'volume', '--from', archive);
          await engine('stop', 'volume');
          const backup = await engine('backup', 'volume');
          return {
            ...readings(volume, { backup: backup.total, restore: restore.total }),
            backupMemory: backup.memory,
            restoreMemory: restore.memory,
          };
        },
      },
      onHost(tree, volume, host),
    ];
  },
};

function backupRows(what: string, tree: Tree): Case['rows'] {
  const size = `${Math.round(bytesOf(tree) / 1e6)} MB`;
  return [
    {
      title: `backup of ${what} (${size})`,
      unit: 'ms',
      ours: { contender: 'alcove', figure: 'backup' },
      peers: [{ contender: 'host', figure: 'backup', name: 'tar | zstd -3 on the host', atMost: hostGoal }],
    },
    {
      title: `restore of ${what} (${size})`,
      unit: 'ms',
      ours: { contender: 'alcove', figure: 'restore' },
      peers: [{ contender: 'host', figure: 'restore', name: 'zstd -d | tar x on the host' }],
    },
  ];
}

function onHost(tree: string, what: Tree, dir: string): Contender {
  const archive = join(dir, 'tree.tar.zst');
  const unpacked = join(dir, 'unpacked');
  return {
    name: 'host',
    run: async () => {
      const backup = await timed(() => runTool('/bin/sh', ['-c', packLine(tree, archive)]));
      mkdirSync(unpacked);
      const line = `zstd -q -dc '${archive}' | tar -x -C '${unpacked}'`;
      const restore = await timed(() => runTool('/bin/sh', ['-c', line]));
      await rm(unpacked, { recursive: true });
      await rm(archive);
      return readings(what, { backup, restore });
    },
  };
}

function packLine(tree: string, archive: string): string {
  return `tar -C '${tree}' -c . | zstd -q -3 > '${archive}'`;
}

function readings(tree: Tree, took: { backup: number; restore: number }): Readings {
  const rate = (ms: number) => bytesOf(tree) / 1e6 / (ms / 1000);
  return { ...took, backupRate: rate(took.backup), restoreRate: rate(took.restore) };
}

function bytesOf({ smallFiles, smallBytes, largeFiles, largeBytes }: Tree): number {
  return smallFiles * smallBytes + largeFiles * largeBytes;
}

/** Small files are text; of large ones, every other is. */
function writeTree(dir: string, { smallFiles, smallBytes, largeFiles, largeBytes }: Tree): void {
  const words = Array.from({ length: 2000 }, () =>
    Math.random()
      .toString(36)
      .slice(2, 2 + Math.random() * 9),
  );
  const text = (bytes: number) => {
    let lines = '';
    while (lines.length < bytes)
      lines += `${Array.from({ length: 12 }, () => words[Math.floor(Math.random() ** 2 * words.length)]).join(' ')}\n`;
    return Buffer.from(lines.slice(0, bytes));
  };
  for (let index = 0; index < smallFiles; index++) {
    const folder = join(dir, `d${index % 50}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `f${index}`), text(smallBytes));
  }
  const piece = 1_000_000;
  for (let index = 0; index < largeFiles; index++) {
    const file = openSync(join(dir, `large${index}`), 'w');
    for (let written = 0; written < largeBytes; written += piece)
      writeSync(file, index % 2 === 0 ? text(piece) : randomFillSync(Buffer.alloc(piece)));
    closeSync(file);
  }
}
