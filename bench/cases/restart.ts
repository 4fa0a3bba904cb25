import type { Alcove } from '../../src/index.ts';
import type { Case, Contender, Row } from '../measure.ts';
import { image, memoryMiB, type World } from '../world.ts';
import { timeRestore } from './restore.ts';
import { timeStart } from './start.ts';

const started = ['template start', 'warm claim', 'memory restore'] as const;

/** The same thing started by an engine, and by the next one over the same state directory. */
export const restart: Case = {
  title: 'second start after an engine restart',
  rounds: 5,
  rows: started.map(
    (contender): Row => ({
      title: `${contender} after an engine restart, beside the same before it`,
      unit: 'ms',
      ours: { contender, figure: 'second', name: 'after' },
      peers: [{ contender, figure: 'first', name: 'before', atMost: 1.1 }],
    }),
  ),
  async prepare(world) {
    const ref = await takeSnapshot(world);
    const spec = { image, memoryMiB };
    return [
      beforeAndAfter(
        world,
        'template start',
        async (alcove) => alcove,
        (alcove) => timeStart(alcove, spec),
      ),
      beforeAndAfter(
        world,
        'warm claim',
        (alcove) => alcove.warm.fill(spec),
        (alcove) => timeStart(alcove, spec, 'image'),
      ),
      beforeAndAfter(
        world,
        'memory restore',
        async (alcove) => alcove,
        (alcove) => timeRestore(alcove, ref),
      ),
    ];
  },
};

/** @param ready what is done before each start, and not timed */
function beforeAndAfter(
  world: World,
  name: (typeof started)[number],
  ready: (alcove: Alcove) => Promise<unknown>,
  start: (alcove: Alcove) => Promise<number>,
): Contender {
  return {
    name,
    run: async () => {
      let first: number;
      {
        await using alcove = await world.engine();
        await ready(alcove);
        first = await start(alcove);
        await ready(alcove);
      }
      await using alcove = await world.engine();
      return { first, second: await start(alcove) };
    },
  };
}

async function takeSnapshot(world: World) {
  await using alcove = await world.engine();
  await using vm = await alcove.create({ image, memoryMiB });
  await vm.start();
  return (await vm.snapshot()).ref;
}
