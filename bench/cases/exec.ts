import { type Case, timer } from '../measure.ts';
import { firstCommand, image, memoryMiB, noOp } from '../world.ts';

/** A command in a machine that runs. */
export const exec: Case = {
  title: 'exec',
  rounds: 10,
  rows: [
    {
      title: 'command in a running machine, round trip',
      unit: 'ms',
      ours: { contender: 'alcove' },
      peers: [{ contender: 'docker exec', atMost: 0.1 }, { contender: 'ping of the agent' }],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    const vm = owned.use(await alcove.create({ image, memoryMiB }));
    await vm.start();
    const docker = await world.docker();
    const container = await docker?.start();
    return [
      timer('alcove', () => vm.exec(firstCommand), 20),
      timer('ping of the agent', () => vm.ping(), 20),
      ...(docker && container ? [timer('docker exec', () => docker.exec(container, noOp), 20)] : []),
    ];
  },
};
