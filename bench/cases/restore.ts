import { join } from 'node:path';
import type { Alcove, SnapshotRef } from '../../src/index.ts';
import { type Case, type Contender, timer } from '../measure.ts';
import { HandWrittenMachine } from '../peers/hand-written-snapshot.ts';
import { firstCommand, image, memoryMiB, noOp, type World } from '../world.ts';

const byHand = 'hand-written QEMU restore';
const peers = [
  { contender: 'docker run', atMost: 0.5 },
  { contender: byHand, atMost: 1.2 },
] as const;
const to = 'restore of a memory snapshot to the end of the first command';

/** A VM that goes on from a snapshot with memory. */
export const restore: Case = {
  title: 'restore of a memory snapshot',
  rounds: 8,
  rows: [
    { title: `${to}: its first`, unit: 'ms', ours: { contender: 'alcove', figure: 'first' }, peers },
    { title: `${to}: again`, unit: 'ms', ours: { contender: 'alcove', figure: 'again' }, peers },
    {
      title: `${to}: again, with a spare`,
      unit: 'ms',
      ours: { contender: 'alcove', figure: 'spare' },
      peers,
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    const docker = await world.docker();
    return [
      await ours(alcove, owned),
      await restoreByHand(world),
      ...(docker ? [timer('docker run', () => docker.run(noOp))] : []),
    ];
  },
};

async function ours(alcove: Alcove, owned: AsyncDisposableStack): Promise<Contender> {
  const source = owned.use(await alcove.create({ image, memoryMiB }));
  await source.start();
  return {
    name: 'alcove',
    run: async () => {
      const { ref } = await source.snapshot();
      const first = await timeRestore(alcove, ref);
      const again = await timeRestore(alcove, ref);
      await alcove.warm.fill({ snapshot: ref });
      const spare = await timeRestore(alcove, ref, 'spare');
      await alcove.snapshots.remove(ref);
      return { first, again, spare };
    },
  };
}

/** From the call to the end of the first command, in ms. @param spare whether it must take a machine made for it @throws when it did not */
export async function timeRestore(
  alcove: Alcove,
  ref: SnapshotRef,
  spare: 'spare' | 'no spare' = 'no spare',
): Promise<number> {
  const before = (await alcove.warm.stats()).claims.memory;
  const start = performance.now();
  await using vm = await alcove.restore(ref);
  await vm.start();
  await vm.exec(firstCommand);
  const took = performance.now() - start;
  const claimed = (await alcove.warm.stats()).claims.memory - before;
  if (claimed !== Number(spare === 'spare'))
    throw new Error(`the restore took ${claimed} machines made for it`);
  return took;
}

async function restoreByHand(world: World): Promise<Contender> {
  const [ram, state] = [join(world.workDir, 'hand.ram'), join(world.workDir, 'hand.state')];
  const options = { files: await world.handWritten(), ram, memoryMiB, workDir: world.workDir };
  {
    await using machine = await HandWrittenMachine.boot(options);
    await machine.exec(noOp);
    await machine.saveState(state);
  }
  return {
    name: byHand,
    run: async () => {
      const start = performance.now();
      await using machine = await HandWrittenMachine.restore({ ...options, state });
      await machine.exec(noOp);
      return { total: performance.now() - start };
    },
  };
}
