import type { Alcove, VmSpec } from '../../src/index.ts';
import { type Case, type Contender, timer } from '../measure.ts';
import { runOnce } from '../peers/hand-written.ts';
import type { OciRuntime } from '../peers/oci-runtime.ts';
import { firstCommand, image, memoryMiB, noOp, type World } from '../world.ts';

/** Nothing is there but the image: a kernel boots. */
export const coldStart: Case = {
  title: 'cold start',
  rounds: 4,
  rows: [
    {
      title: 'cold start (first of its shape: boot, template, start) to the end of the first command',
      unit: 'ms',
      ours: { contender: 'alcove' },
      peers: [{ contender: 'hand-written QEMU', atMost: 1.25 }],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    const files = await world.handWritten();
    let last = 0;
    return [
      {
        name: 'alcove',
        run: async () => {
          last++;
          // A kernel argument of its own makes each a shape that was never started.
          return { total: await timeStart(alcove, { image, memoryMiB, bootArgs: [`bench=${last}`] }) };
        },
      },
      timer('hand-written QEMU', () => runOnce(files, memoryMiB)),
    ];
  },
};

/** An image that was run before, from the template of its shape; and from a machine made ahead of need. */
export const warmStart: Case = {
  title: 'start',
  rounds: 10,
  rows: [
    {
      title: 'warm claim to the end of the first command',
      unit: 'ms',
      atMost: 30,
      ours: { contender: 'warm claim', name: 'alcove' },
      peers: [
        { contender: 'docker run', atMost: 0.1 },
        { contender: 'docker exec' },
        { contender: 'crun run' },
        { contender: 'runsc run' },
      ],
    },
    {
      title: 'template start to the end of the first command',
      unit: 'ms',
      ours: { contender: 'template start', name: 'alcove' },
      peers: [{ contender: 'docker run' }, { contender: 'lxc copy, start, exec' }],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    return [
      {
        name: 'warm claim',
        run: async () => {
          await alcove.warm.fill({ image, memoryMiB });
          return { total: await timeStart(alcove, { image, memoryMiB }, 'image') };
        },
      },
      { name: 'template start', run: async () => ({ total: await timeStart(alcove, { image, memoryMiB }) }) },
      ...(await containers(world)),
    ];
  },
};

/** From nothing to the end of the first command, in ms. @param spare what it must have been made from @throws when it was not */
export async function timeStart(alcove: Alcove, spec: VmSpec, spare?: 'image' | 'shape'): Promise<number> {
  const { claims: before } = await alcove.warm.stats();
  const start = performance.now();
  await using vm = await alcove.create(spec);
  await vm.start();
  await vm.exec(firstCommand);
  const took = performance.now() - start;
  const { claims: after } = await alcove.warm.stats();
  for (const kind of ['image', 'shape'] as const)
    if (after[kind] - before[kind] !== Number(kind === spare))
      throw new Error(`the start took a machine made for its ${kind}, or none that it should have taken`);
  return took;
}

async function containers(world: World): Promise<Contender[]> {
  const docker = await world.docker();
  const container = (await docker?.start()) ?? '';
  const lxd = await world.lxd();
  let last = 0;
  const lxc: Contender | undefined = lxd && {
    name: 'lxc copy, start, exec',
    run: async () => {
      last++;
      const start = performance.now();
      const copy = await lxd.start(`start-${last}`);
      await lxd.exec(copy, noOp);
      const total = performance.now() - start;
      await lxd.remove(copy);
      return { total };
    },
  };
  const run = (name: string, runtime: OciRuntime | undefined) =>
    runtime ? [timer(name, () => runtime.run())] : [];
  return [
    ...(docker ? [timer('docker run', () => docker.run(noOp))] : []),
    ...(docker ? [timer('docker exec', () => docker.exec(container, noOp))] : []),
    ...run('crun run', await world.crun()),
    ...run('runsc run', await world.runsc()),
    ...(lxc ? [lxc] : []),
  ];
}
