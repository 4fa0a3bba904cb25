import { join } from 'node:path';
import type { Alcove, SnapshotRef, Vm } from '../../src/index.ts';
import type { Case, Contender, Row } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import { HandWrittenMachine } from '../peers/hand-written-snapshot.ts';
import { watchGaps } from '../watch-gaps.ts';
import { image, memoryMiB, type World } from '../world.ts';

/** What a VM changes between its start, or the snapshot it comes from, and the next snapshot: about 23 MB. */
const change = (path: string) => ['/bin/change', '22', path] as const;
/** Longer than a snapshot takes, in ms; looking at the clock all the time. */
const gap = (lifetimeMs: number) => ['/bin/gap', `${lifetimeMs}`, '0'] as const;
const depth = 20;
const generations = ['first generation', 'restored', `at depth ${depth}`] as const;
const wholeRam = 'QEMU, whole RAM to a file';

/** A snapshot of a VM that runs: how long its processes stand still, and how long it takes. */
export const snapshot: Case = {
  title: 'snapshot of a running VM',
  rounds: 4,
  rows: [...generations.map(pauseOf), ...generations.map(totalOf)],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    const first = await makeChain(alcove, 1);
    const deep = await makeChain(alcove, depth);
    const docker = await world.docker();
    return [
      ours('first generation', () => alcove.create({ image, memoryMiB })),
      ours('restored', () => alcove.restore(first)),
      ours(`at depth ${depth}`, () => alcove.restore(deep)),
      ...(docker ? [await dockerCommit(docker)] : []),
      await streamByHand(world, owned),
    ];
  },
};

/** Peers know no generations: they stand beside the first. */
function peersOf(contender: string, figure: string): { contender: string; figure: string }[] {
  if (contender !== generations[0]) return [];
  return ['docker commit', wholeRam].map((peer) => ({ contender: peer, figure }));
}

function pauseOf(contender: string): Row {
  return {
    title: `snapshot of a running VM that changed 22 MiB, ${contender}: pause in the guest`,
    unit: 'ms',
    atMost: 100,
    ours: { contender, figure: 'pause' },
    peers: [
      { contender, figure: 'other', name: 'longest gap meanwhile, else' },
      { contender, figure: 'idle', name: 'longest gap with no snapshot' },
      ...peersOf(contender, 'pause'),
    ],
  };
}

function totalOf(contender: string): Row {
  return {
    title: `snapshot of a running VM that changed 22 MiB, ${contender}: total`,
    unit: 'ms',
    ours: { contender },
    peers: peersOf(contender, 'total'),
  };
}

function ours(name: string, make: () => Promise<Vm>): Contender {
  return {
    name,
    run: async () => {
      await using vm = await make();
      await vm.start();
      await vm.exec({ command: change('/dev/shm/changed'), nonZeroExit: 'error' });
      await using process = await vm.spawn({ command: gap(20_000) });
      return await watchGaps({ output: process.stdout, stop: () => process.kill('SIGKILL') }, () =>
        vm.snapshot(),
      );
    },
  };
}

/** Snapshot, restore, change, snapshot, and so on. */
async function makeChain(alcove: Alcove, length: number): Promise<SnapshotRef> {
  let make = () => alcove.create({ image, memoryMiB });
  for (let made = 1; ; made++) {
    await using vm = await make();
    await vm.start();
    await vm.exec({ command: change('/dev/shm/changed') });
    const { ref } = await vm.snapshot();
    if (made === length) return ref;
    make = () => alcove.restore(ref);
  }
}

/** With its default, a pause of the container. What the container changed is on its disk. */
async function dockerCommit(docker: Docker): Promise<Contender> {
  const container = await docker.start();
  return {
    name: 'docker commit',
    run: async () => {
      await docker.exec(container, change('/changed'));
      const process = docker.stream(container, gap(20_000));
      const stop = () => docker.exec(container, ['/bin/busybox', 'killall', 'gap']);
      let made = '';
      const readings = await watchGaps({ output: process.stdout, stop }, async () => {
        made = await docker.commit(container, 'commit');
      });
      await docker.removeImage(made);
      return readings;
    },
  };
}

async function streamByHand(world: World, owned: AsyncDisposableStack): Promise<Contender> {
  const options = { files: await world.handWritten(), memoryMiB, workDir: world.workDir };
  const machine = owned.use(await HandWrittenMachine.boot(options));
  return {
    name: wholeRam,
    run: async () => {
      await machine.exec(change('/tmp/changed'));
      return watchGaps({ output: machine.stream(gap(4_000)) }, () =>
        machine.saveAll(join(world.workDir, 'stream')),
      );
    },
  };
}
