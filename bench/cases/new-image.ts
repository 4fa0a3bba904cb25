import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Alcove } from '../../src/index.ts';
import { type Case, type Contender, timed } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import { packVariant } from '../programs/rootfs.ts';
import { firstCommand, memoryMiB, noOp, type World } from '../world.ts';

/** An image that is known and was never run: each turn has one of its own. */
export const newImage: Case = {
  title: 'image never run before',
  rounds: 8,
  rows: [
    {
      title: 'image never run before to the end of the first command',
      unit: 'ms',
      ours: { contender: 'no spare' },
      peers: [{ contender: 'docker', name: 'docker run', atMost: 1 }],
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
    return [noSpare(alcove, variants), ...(docker ? [ofDocker(docker, variants, world)] : [])];
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

function noSpare(alcove: Alcove, variants: Variants): Contender {
  return {
    name: 'no spare',
    run: () =>
      variants.next(async (path, name) => {
        const add = await timed(() => alcove.images.add({ kind: 'tar', path }, { name }));
        const total = await timeStart(alcove, name);
        await alcove.images.remove(name);
        return { import: add, total };
      }),
  };
}

async function timeStart(alcove: Alcove, image: string): Promise<number> {
  const start = performance.now();
  await using vm = await alcove.create({ image, memoryMiB });
  await vm.start();
  await vm.exec(firstCommand);
  return performance.now() - start;
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
