import { type Case, timer } from '../measure.ts';
import { runOnce } from '../peers/hand-written.ts';
import { firstCommand, image, memoryMiB, noOp } from '../world.ts';

/** A machine that no template is of yet: a kernel boots. */
export const coldStart: Case = {
  title: 'cold start',
  rounds: 6,
  rows: [
    {
      title: 'cold start to the end of the first command',
      unit: 'ms',
      ours: { contender: 'alcove' },
      peers: [{ contender: 'hand-written QEMU', atMost: 1.25 }, { contender: 'docker run' }],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    const docker = await world.docker();
    const files = await world.handWritten();
    return [
      {
        name: 'alcove',
        run: async () => {
          const start = performance.now();
          await using vm = await alcove.create({ image, memoryMiB });
          await vm.start();
          await vm.exec(firstCommand);
          return { total: performance.now() - start };
        },
      },
      timer('hand-written QEMU', () => runOnce(files, memoryMiB)),
      ...(docker ? [timer('docker run', () => docker.run(noOp))] : []),
    ];
  },
};
