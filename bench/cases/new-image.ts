import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Alcove } from '../../src/index.ts';
import { type Case, type Contender, timed } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import { packVariant } from '../programs/rootfs.ts';
import { memoryMiB, noOp, type World } from '../world.ts';
import { timeStart } from './start.ts';

const peers = [{ contender: 'docker', name: 'docker run', atMost: 1 }] as const;

/** An image that is known and was never run: each turn has one of its own. */
export const newImage: Case = {
  title: 'image never run before',
  rounds: 8,
  rows: [
    {
      title: 'image never run before to the end of the first command, with no spare (template start)',
      unit: 'ms',
      ours: { contender: 'no spare', name: 'alcove' },
      peers,
    },
    {
      title: 'image never run before to the end of the first command, with a spare of the shape',
      unit: 'ms',
      ours: { contender: 'spare of the shape', name: 'alcove' },
      peers,
    },
    {
      title: 'import of an image',
      unit: 'ms',
      ours: { contender: 'no spare', figure: 'import', name: 'alcove' },
      peers: [
        { contender: 'docker', figure: 'import', name: 'docker import' },
        { contender: 'docker', figure: 'load', name: 'docker load' },
      ],
    },
  ],
  async prepare(world, owned) {
    const variants = new Variants(world);
    const alcove = owned.use(await world.engine());
    const docker = await world.docker();
    const fill = () => alcove.warm.fill({ memoryMiB });
    return [
      ours('no spare', alcove, variants),
      ours('spare of the shape', alcove, variants, fill),
      ...(docker ? [ofDocker(docker, variants, world)] : []),
    ];
  },
};

/** Images of the same root filesystem with another file each. */
class Variants {
  readonly #world: World;
  #last = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** With the next one's tar, for as long as the work takes. */
  async next<T>(work: (tar: string, name: string) => Promise<T>): Promise<T> {
    this.#last++;
    const name = `variant-${this.#last}`;
    const tar = await packVariant(this.#world.rootfs, name, this.#world.workDir);
    try {
      return await work(tar, name);
    } finally {
      rmSync(tar);
    }
  }
}

/** @param fill makes the spare that the start is to take */
function ours(name: string, alcove: Alcove, variants: Variants, fill?: () => Promise<unknown>): Contender {
  return {
    name,
    run: () =>
      variants.next(async (path, image) => {
        const add = await timed(() => alcove.images.add({ kind: 'tar', path }, { name: image }));
        await fill?.();
        const total = await timeStart(alcove, { image, memoryMiB }, fill && 'shape');
        await alcove.images.remove(image);
        return { import: add, total };
      }),
  };
}

/** Its import leaves nothing to load, so it is saved and removed in between. */
function ofDocker(docker: Docker, variants: Variants, world: World): Contender {
  const saved = join(world.workDir, 'saved.tar');
  return {
    name: 'docker',
    run: () =>
      variants.next(async (tar, name) => {
        let image = '';
        const importMs = await timed(async () => {
          image = await docker.import(tar, name);
        });
        await docker.do('save', '--output', saved, image);
        await docker.removeImage(image);
        const load = await timed(() => docker.do('load', '--input', saved));
        const total = await timed(() => docker.run(noOp, image));
        await docker.removeImage(image);
        return { import: importMs, load, total };
      }),
  };
}
