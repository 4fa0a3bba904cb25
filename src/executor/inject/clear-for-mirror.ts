import { AlcoveError, isAlcoveError } from '../../errors.ts';
import type { CallOptions, FileKind, FileStat, GuestFiles, TreeKind } from '../../guest/index.ts';
import { Limiter } from './limiter.ts';

/** So many directories of the guest are listed at once: each is a round trip. */
const atOnce = 8;

export interface MirrorPlan {
  /** The directory in the guest. */
  to: string;
  /** What will be in it, by path. */
  tree: ReadonlyMap<string, TreeKind>;
  /** Whether something that will not be in it stays nevertheless, with all that is in it. */
  keeps: (path: string, isDirectory: boolean) => Promise<boolean>;
}

/**
 * Removes in the guest what a tree does not have, or has as something else. As `rsync --delete` with excludes: what is kept stays,
 * and the directories that it is in.
 *
 * @throws AlcoveError `GuestFile`, also when something that is kept is in the way of the tree
 */
export async function clearForMirror(files: GuestFiles, plan: MirrorPlan, call: CallOptions): Promise<void> {
  await new Clearing(files, plan, call).directory('');
}

class Clearing {
  readonly #files: GuestFiles;
  readonly #plan: MirrorPlan;
  readonly #call: CallOptions;
  readonly #limiter = new Limiter(atOnce);

  constructor(files: GuestFiles, plan: MirrorPlan, call: CallOptions) {
    this.#files = files;
    this.#plan = plan;
    this.#call = call;
  }

  /** Clears a directory that the tree has, too. */
  async directory(path: string): Promise<void> {
    await each(await this.#list(path), async (child) => {
      const kind = this.#plan.tree.get(child.path);
      if (kind === undefined) await this.#removeAll((await this.#strays(child)).remove);
      else if (kind !== treeKinds[child.kind]) await this.#makeWay(child, kind);
      else if (kind === 'directory') await this.directory(child.path);
    });
  }

  /** Removes something that the tree has as something else. @throws AlcoveError `GuestFile` when it stays */
  async #makeWay(child: Child, kind: TreeKind): Promise<void> {
    const { remove, stays } = await this.#strays(child);
    if (!stays) return this.#removeAll(remove);
    const path = this.#inGuest(child.path);
    const problem = `is left alone, or something in it is, where the folder has a ${kind}`;
    throw new AlcoveError('GuestFile', `the ${child.kind} ${path} in the guest ${problem}`, {
      remedy: 'Remove it in the guest first, or inject without ignore rules.',
      details: { path, errno: 'EEXIST' },
    });
  }

  /** What is to be removed of something that the tree has not. */
  async #strays(child: Child): Promise<Strays> {
    const isDirectory = child.kind === 'directory';
    if (await this.#plan.keeps(child.path, isDirectory)) return { remove: [], stays: true };
    if (!isDirectory) return { remove: [child.path], stays: false };
    const inside = await this.#straysIn(child.path);
    if (!inside.some(({ stays }) => stays)) return { remove: [child.path], stays: false };
    return { remove: inside.flatMap(({ remove }) => remove), stays: true };
  }

  async #straysIn(path: string): Promise<Strays[]> {
    return each(await this.#list(path), (child) => this.#strays(child));
  }

  #list(path: string): Promise<Child[]> {
    return this.#limiter.run(async () => {
      const children: Child[] = [];
      try {
        for await (const { path: at, kind } of this.#files.list(this.#inGuest(path), this.#call)) {
          const name = at.slice(at.lastIndexOf('/') + 1);
          children.push({ path: path === '' ? name : `${path}/${name}`, kind });
        }
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
      return children;
    });
  }

  async #removeAll(paths: readonly string[]): Promise<void> {
    await each(paths, (path) =>
      this.#limiter.run(() => removeInGuest(this.#files, this.#inGuest(path), this.#call)),
    );
  }

  #inGuest(path: string): string {
    return path === '' ? this.#plan.to : `${this.#plan.to}/${path}`;
  }
}

/** Something in the guest, by its path relative to the mirror. */
type Child = Pick<FileStat, 'path' | 'kind'>;

interface Strays {
  /** Whole directories where nothing in them stays. */
  remove: readonly string[];
  /** Something of it stays. */
  stays: boolean;
}

/** A tree has no sockets. */
const treeKinds: Readonly<Record<FileKind, TreeKind | undefined>> = {
  file: 'file',
  directory: 'directory',
  symlink: 'symlink',
  fifo: 'fifo',
  char: 'device',
  block: 'device',
  socket: undefined,
};

/** Also when it has gone meanwhile. */
async function removeInGuest(files: GuestFiles, path: string, call: CallOptions): Promise<void> {
  try {
    await files.remove(path, { ...call, recursive: true });
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

function isMissing(error: unknown): boolean {
  return isAlcoveError(error, 'GuestFile') && error.details?.errno === 'ENOENT';
}

/** All of them at once; when one fails, the others have ended before that is told. */
async function each<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const ended = await Promise.allSettled(items.map(work));
  return ended.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}
