import { AlcoveError } from '../../errors.ts';
import { displayName, type TarAttributes, type TarKind } from '../tar/tar-entry.ts';

/** Which entry of which layer brought a file's content. */
export interface Origin {
  layer: number;
  /** Number of the entry within its layer. */
  entry: number;
}

/** A file that is no directory. Several names may share one: hard links. */
export interface Inode {
  attributes: TarAttributes;
  kind: Exclude<TarKind, { kind: 'directory' | 'hard-link' }>;
  origin: Origin;
}

/** A name in a directory: to another directory, or to an inode. `layer` is the last one that brought or changed it. */
export type Node = Directory | FileName;

export interface Directory {
  type: 'directory';
  attributes: TarAttributes;
  layer: number;
  children: Map<string, Node>;
}

export interface FileName {
  type: 'file';
  inode: Inode;
  layer: number;
}

/** What a directory gets that no entry describes: it is only mentioned in the path of something below it. */
const impliedAttributes: TarAttributes = { mode: 0o755, uid: 0, gid: 0, mtimeS: 0, xattrs: new Map() };

/** As many as Linux follows (path_resolution(7)). */
const maxSymlinks = 40;

/**
 * The merged tree of an image's layers, in memory: names and attributes only, no content. Layers are applied from the lowest
 * up; each call stands for one entry of the layer it names.
 *
 * Links on the way to an entry are followed inside the tree, as if it were the root: nothing here can reach the host.
 */
export class FileTree {
  readonly root: Directory = directory(impliedAttributes, 0);

  /** Sets a directory's attributes, keeping what is in it; makes it when absent. */
  putDirectory(path: readonly string[], attributes: TarAttributes, layer: number): void {
    const name = path.at(-1);
    if (name === undefined) {
      this.root.attributes = attributes;
      this.root.layer = layer;
      return;
    }
    const parent = this.#parent(path, layer);
    const there = parent.children.get(name);
    if (there?.type === 'directory') {
      there.attributes = attributes;
      there.layer = layer;
    } else {
      parent.children.set(name, directory(attributes, layer));
    }
  }

  /** Puts a file in the place of whatever is there. */
  putFile(path: readonly string[], inode: Inode, layer: number): void {
    const name = path.at(-1);
    if (name === undefined) throw new AlcoveError('ImageInvalid', 'the root of the image is no directory');
    this.#parent(path, layer).children.set(name, { type: 'file', inode, layer });
  }

  /** Gives a file, of this layer or a lower one, another name. */
  link(path: readonly string[], target: readonly string[], layer: number): void {
    const found = this.#find(target);
    if (found?.type !== 'file') {
      throw new AlcoveError(
        'ImageInvalid',
        `${shown(path)} is a hard link to ${shown(target)}, which is ${found ? 'a directory' : 'not there'}`,
      );
    }
    this.putFile(path, found.inode, layer);
  }

  /** Removes what lower layers have under a name. What this layer brought there stays, whichever came first. */
  whiteOut(path: readonly string[], layer: number): void {
    const name = path.at(-1);
    const parent = this.#walk(path.slice(0, -1), () => undefined);
    const there = name === undefined ? undefined : parent?.children.get(name);
    if (name !== undefined && there && !keepOnly(there, layer)) parent?.children.delete(name);
  }

  /** Removes all that lower layers have in a directory, which stays. */
  makeOpaque(path: readonly string[], layer: number): void {
    const found = this.#walk(path, () => undefined);
    for (const [name, child] of found?.children ?? []) {
      if (!keepOnly(child, layer)) found?.children.delete(name);
    }
  }

  /** The directory an entry goes into. What is missing on the way is made; a file of a lower layer gives way. */
  #parent(path: readonly string[], layer: number): Directory {
    const found = this.#walk(path.slice(0, -1), (parent, name, there) => {
      if (there?.type === 'file' && there.layer === layer) {
        throw new AlcoveError(
          'ImageInvalid',
          `${shown(path)} lies in ${displayName(name)}, which is no directory`,
        );
      }
      const made = directory(impliedAttributes, layer);
      parent.children.set(name, made);
      return made;
    });
    if (found?.type === 'directory') return found;
    throw new AlcoveError('ImageInvalid', `${shown(path)} lies in no directory`);
  }

  /** What is at a path; a link at its end is not followed. */
  #find(path: readonly string[]): Node | undefined {
    const name = path.at(-1);
    if (name === undefined) return this.root;
    const parent = this.#walk(path.slice(0, -1), () => undefined);
    return parent?.children.get(name);
  }

  /** Goes from the root through directories and links to them; asks what to do where there is none. */
  #walk(
    path: readonly string[],
    missing: (parent: Directory, name: string, there: Node | undefined) => Directory | undefined,
  ): Directory | undefined {
    const way = [this.root];
    const rest = [...path].reverse();
    let symlinks = 0;
    for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
      const here = way.at(-1) ?? this.root;
      if (name === '..') {
        if (way.length > 1) way.pop(); // As in a root directory, `..` of the root is the root.
        continue;
      }
      const there = here.children.get(name);
      if (there?.type === 'directory') {
        way.push(there);
      } else if (there?.inode.kind.kind === 'symlink') {
        if (++symlinks > maxSymlinks)
          throw new AlcoveError('ImageInvalid', `${shown(path)} goes through a loop of links`);
        const { target } = there.inode.kind;
        if (target.startsWith('/')) way.length = 1;
        rest.push(
          ...target
            .split('/')
            .filter((part) => part !== '' && part !== '.')
            .reverse(),
        );
      } else {
        const made = missing(here, name, there);
        if (!made) return undefined;
        way.push(made);
      }
    }
    return way.at(-1);
  }
}

/** Takes out of a node what lower layers brought; whether anything is left. */
function keepOnly(node: Node, layer: number): boolean {
  if (node.type === 'file') return node.layer === layer;
  for (const [name, child] of node.children) {
    if (!keepOnly(child, layer)) node.children.delete(name);
  }
  if (node.layer === layer) return true;
  node.attributes = impliedAttributes; // Only implied by what this layer has in it.
  return node.children.size > 0;
}

function directory(attributes: TarAttributes, layer: number): Directory {
  return { type: 'directory', attributes, layer, children: new Map() };
}

function shown(path: readonly string[]): string {
  return displayName(`/${path.join('/')}`);
}
