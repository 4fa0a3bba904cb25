import { spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from '../../src/executor/inject/index.ts';
import { packPath } from '../../src/guest/index.ts';
import type { Vm } from '../../src/index.ts';
import { forgetPeakMemory, peakMemoryMiB } from '../footprint.ts';
import { type Case, type Contender, timed } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import { image, memoryMiB } from '../world.ts';

/** At least 0.7 times the throughput of a bare stream. */
const bareGoal = 1 / 0.7;
/** 150 MB, in MiB. */
const memoryGoal = 143;

const smallFiles = 10_000;
const largeBytes = 500_000_000;

/** Ten thousand small files into a machine that runs. */
export const injectSmallFiles = injectCase('inject of 10,000 files of 1 KiB', 5, (folder) => {
  const bytes = Buffer.alloc(1024);
  for (let index = 0; index < smallFiles; index++) {
    const directory = join(folder, `d${index % 100}`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, `f${index}`), randomFillSync(bytes));
  }
});

/** One large file. */
export const injectLargeFile = injectCase('inject of a file of 500 MB', 3, (folder) => {
  const bytes = Buffer.alloc(1_000_000);
  const file = openSync(join(folder, 'large'), 'w');
  for (let written = 0; written < largeBytes; written += bytes.length) writeSync(file, randomFillSync(bytes));
  closeSync(file);
});

/** @param write makes what is injected */
function injectCase(title: string, rounds: number, write: (folder: string) => void): Case {
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
          { contender: 'tar x', name: 'tar x in the machine, of a stream' },
          { contender: 'docker cp' },
          { contender: 'tar to docker', name: 'tar | docker exec -i tar x' },
        ],
      },
      {
        title: `${title}: most memory of the engine`,
        unit: 'MiB',
        ours: { contender: 'alcove', figure: 'memory' },
        judgedBy: 'max',
        atMost: memoryGoal,
      },
    ],
    async prepare(world, owned) {
      const folder = join(world.workDir, 'inject');
      mkdirSync(folder);
      owned.defer(() => rmSync(folder, { recursive: true }));
      write(folder);
      const alcove = owned.use(await world.engine());
      const vm = owned.use(await alcove.create({ image, memoryMiB }));
      await vm.start();
      const docker = await world.docker();
      return [
        ours(vm, folder),
        stream('bare stream', vm, folder, 'exec busybox cat > /dev/null'),
        stream('tar x', vm, folder, `mkdir ${into} && exec busybox tar x -C ${into}`),
        ...(docker ? ofDocker(docker, await docker.start(), folder) : []),
      ];
    },
  };
}

/** The folder on the other side. */
const into = '/in';
/** Also waits until nothing of it is being written any more. */
const clear = `busybox rm -rf ${into} && busybox sync`;

function ours(vm: Vm, folder: string): Contender {
  return {
    name: 'alcove',
    run: async () => {
      forgetPeakMemory();
      const total = await timed(() => inject(vm.files, { from: folder, to: into }));
      const memory = peakMemoryMiB();
      await vm.exec({ command: clear, nonZeroExit: 'error' });
      return { total, memory };
    },
  };
}

/** As many bytes as inject sends, through the same channel, to a command that reads them to their end. */
function stream(name: string, vm: Vm, folder: string, command: string): Contender {
  return {
    name,
    run: async () => {
      const tar: Uint8Array[] = [];
      for await (const chunk of packPath(folder)) tar.push(chunk);
      const total = await timed(async () => {
        await using process = await vm.spawn({ command, stdin: 'pipe' });
        for (const chunk of whole(tar)) await process.stdin.write(chunk);
        await process.stdin.end();
        const { exitCode } = await process.exited;
        if (exitCode !== 0) throw new Error(`${command} ended with ${exitCode}`);
      });
      await vm.exec({ command: clear, nonZeroExit: 'error' });
      return { total };
    },
  };
}

/** The same bytes in pieces of the size that suits the channel. */
function* whole(chunks: readonly Uint8Array[]): Generator<Uint8Array> {
  const all = Buffer.concat(chunks);
  const size = 65_536;
  for (let offset = 0; offset < all.length; offset += size) yield all.subarray(offset, offset + size);
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
      const [code] = await once(
        spawn('/bin/sh', ['-c', line], { stdio: ['ignore', 'ignore', 'inherit'] }),
        'exit',
      );
      if (code !== 0) throw new Error(`${line} ended with ${code}`);
    }),
  ];
}
