import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Alcove, Vm } from '../../src/index.ts';
import { ownDiskMiB, privateMemoryMiB, processesIn } from '../footprint.ts';
import type { Case, Contender, Readings } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import type { Lxd } from '../peers/lxd.ts';
import { watchGaps } from '../watch-gaps.ts';
import { firstCommand, image, memoryMiB, noOp, type World } from '../world.ts';

/** How many calls of a client are under way at a time: more made both peers slower on 2 cores. */
const peersAtOnce = 4;
/** After so many ms, what had to be done after a command is done. */
const idleAfterMs = 3_000;

/** Ten copies of a VM that goes on. */
export const forkTen: Case = {
  title: 'fork of 10',
  rounds: 3,
  rows: [
    {
      title: 'live fork of 10 to the end of the first command of the last',
      unit: 'ms',
      atMost: 3_000,
      ours: { contender: 'alcove' },
      peers: [
        { contender: 'docker', name: 'docker run --detach and exec, 10 times' },
        { contender: 'lxd', name: 'lxc copy, start and exec, 10 times' },
      ],
    },
    {
      title: 'live fork of 10: pause in the parent',
      unit: 'ms',
      atMost: 100,
      ours: { contender: 'alcove, watched', figure: 'pause' },
      peers: [
        { contender: 'alcove, watched', figure: 'other', name: 'longest gap while the copies start' },
        { contender: 'alcove, watched', figure: 'idle', name: 'longest gap with no fork' },
      ],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    const vm = await startParent(alcove, owned);
    const docker = await world.docker();
    const lxd = await world.lxd();
    return [
      { name: 'alcove', run: () => forkAndRun(vm, alcove, 10, async () => ({})) },
      { name: 'alcove, watched', run: () => watchedFork(vm, alcove) },
      ...(docker ? [ofDocker(docker, 10)] : []),
      ...(lxd ? [ofLxd(lxd)] : []),
    ];
  },
};

/** A hundred, all there at once. */
export const forkHundred: Case = {
  title: 'fork of 100',
  rounds: 1,
  warmUps: 0,
  rows: [
    {
      title: 'fork of 100, each to the end of its first command: amortised',
      unit: 'ms',
      atMost: 300,
      ours: { contender: 'alcove', figure: 'each' },
      peers: [{ contender: 'docker', figure: 'each', name: 'docker run --detach and exec, 100 times' }],
    },
    {
      title: 'private memory of each of 100 idle forks',
      unit: 'MiB',
      atMost: 30,
      judgedBy: 'max',
      ours: { contender: 'alcove', figure: 'memory' },
      peers: [{ contender: 'docker', figure: 'memory', name: 'docker, process and shim' }],
    },
    {
      title: 'disk of each of 100 idle forks',
      unit: 'MiB',
      ours: { contender: 'alcove', figure: 'disk' },
      peers: [{ contender: 'docker', figure: 'disk' }],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    const vm = await startParent(alcove, owned);
    const docker = await world.docker();
    const footprint = (forks: readonly Vm[]) => footprintOf(forks, world);
    return [
      { name: 'alcove', run: () => forkAndRun(vm, alcove, 100, footprint) },
      ...(docker ? [ofDocker(docker, 100)] : []),
    ];
  },
};

async function startParent(alcove: Alcove, owned: AsyncDisposableStack): Promise<Vm> {
  const vm = owned.use(await alcove.create({ image, memoryMiB }));
  await vm.start();
  await vm.exec({ command: ['/bin/change', '22', '/dev/shm/changed'], nonZeroExit: 'error' });
  return vm;
}

/** Forks, runs a command in each, and reads something off those that are there then. */
async function forkAndRun(
  parent: Vm,
  alcove: Alcove,
  count: number,
  readOff: (forks: readonly Vm[]) => Promise<Readings>,
): Promise<Readings> {
  await using owned = new AsyncDisposableStack();
  const start = performance.now();
  const forks = await Promise.all(
    (await parent.fork(count, { start: 'yes' })).map(async (result) => {
      if ('error' in result) throw result.error;
      return owned.use(await alcove.vm(result.id));
    }),
  );
  await Promise.all(forks.map((fork) => fork.exec(firstCommand)));
  const total = performance.now() - start;
  return { total, each: total / count, ...(await readOff(forks)) };
}

async function watchedFork(vm: Vm, alcove: Alcove): Promise<Readings> {
  // With naps: the copies go on with a copy of it, and are not to compete for the processor.
  await using gap = await vm.spawn({ command: ['/bin/gap', '20000', '500'] });
  return await watchGaps({ output: gap.stdout, stop: () => gap.kill('SIGKILL') }, () =>
    forkAndRun(vm, alcove, 10, async () => ({})),
  );
}

async function footprintOf(forks: readonly Vm[], world: World): Promise<Readings> {
  await sleep(idleAfterMs);
  const dirs = forks.map(({ id }) => join(world.stateDir, 'vms', id));
  const memory = dirs.map((dir) => sum(processesIn(dir).map(privateMemoryMiB)));
  return { memory, disk: dirs.map(ownDiskMiB) };
}

function ofDocker(docker: Docker, count: number): Contender {
  return {
    name: 'docker',
    run: async () => {
      const containers: string[] = [];
      try {
        const start = performance.now();
        await times(count, async () => {
          const container = await docker.start();
          containers.push(container);
          await docker.exec(container, noOp);
        });
        const total = performance.now() - start;
        await sleep(idleAfterMs);
        const footprints = await Promise.all(containers.map((container) => docker.footprint(container)));
        return {
          total,
          each: total / count,
          memory: footprints.map(({ memoryMiB }) => memoryMiB),
          disk: footprints.map(({ diskMiB }) => diskMiB),
        };
      } finally {
        await docker.removeContainers(...containers);
      }
    },
  };
}

function ofLxd(lxd: Lxd): Contender {
  let last = 0;
  return {
    name: 'lxd',
    run: async () => {
      const containers: string[] = [];
      const start = performance.now();
      await times(10, async () => {
        last++;
        const container = await lxd.start(`${last}`);
        containers.push(container);
        await lxd.exec(container, noOp);
      });
      const total = performance.now() - start;
      await Promise.all(containers.map((container) => lxd.remove(container)));
      return { total };
    },
  };
}

/** Does something so many times, some at once. */
async function times(count: number, work: () => Promise<void>): Promise<void> {
  let begun = 0;
  const worker = async () => {
    while (begun < count) {
      begun++;
      await work();
    }
  };
  await Promise.all(Array.from({ length: peersAtOnce }, worker));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
