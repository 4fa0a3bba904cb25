import { type Case, type Contender, timed, timer } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import { firstCommand, image, memoryMiB, noOp, type World } from '../world.ts';

/** A machine that is put away and fetched again. */
export const stopStart: Case = {
  title: 'stop with memory and start',
  rounds: 8,
  rows: [
    {
      title: 'stop with memory, start, to the end of a command',
      unit: 'ms',
      ours: { contender: 'alcove' },
      peers: [
        { contender: 'docker stop, start, exec' },
        { contender: 'docker pause, unpause, exec' },
        { contender: 'alcove', figure: 'stop', name: 'of ours: the stop' },
        { contender: 'alcove', figure: 'start', name: 'of ours: start and command' },
      ],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    const vm = owned.use(await alcove.create({ image, memoryMiB }));
    await vm.start();
    const docker = await world.docker();
    return [
      {
        name: 'alcove',
        run: async () => {
          const stop = await timed(() => vm.stop({ memory: true }));
          const start = await timed(async () => {
            await vm.start();
            await vm.exec(firstCommand);
          });
          return { stop, start, total: stop + start };
        },
      },
      ...(docker ? await ofDocker(docker, world) : []),
    ];
  },
};

async function ofDocker(docker: Docker, world: World): Promise<Contender[]> {
  const container = await docker.start('--init');
  await noteCheckpoint(docker, world);
  return [
    timer('docker stop, start, exec', async () => {
      await docker.do('stop', container);
      await docker.do('start', container);
      await docker.exec(container, noOp);
    }),
    timer('docker pause, unpause, exec', async () => {
      await docker.do('pause', container);
      await docker.do('unpause', container);
      await docker.exec(container, noOp);
    }),
  ];
}

/** The nearest peer, which keeps the processes too: it needs an engine with experimental features, and a criu that fits the kernel. */
async function noteCheckpoint(docker: Docker, world: World): Promise<void> {
  const container = await docker.start();
  try {
    await docker.do('checkpoint', 'create', container, 'bench');
    world.skip('docker checkpoint', 'it works here, and the bench has no row for it yet');
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    world.skip('docker checkpoint', said.trim().split('\n').at(-1) ?? '');
  }
  await docker.removeContainers(container);
}
