import type { FileKind } from '../../guest/index.ts';
import { fileError } from './guest-error.ts';

/** A file, directory or symlink of a scripted guest. */
export interface MemoryNode {
  kind: Extract<FileKind, 'file' | 'directory' | 'symlink'>;
  mode: number;
  uid: number;
  gid: number;
  mtimeMs: number;
  /** Of a file. */
  data: Uint8Array;
  /** Of a symlink. */
  target: string;
}

/** As it lies in a state file or snapshot: absolute path to node, data in base64. */
export type DiskImage = Record<string, Omit<MemoryNode, 'data'> & { data: string }>;

/**
 * The file system of a scripted guest: absolute, normalised paths to nodes. What was not synced is lost when the machine
 * dies, as a page cache is.
 */
export class MemoryDisk {
  #nodes: Map<string, MemoryNode>;
  #synced: Map<string, MemoryNode>;
  readonly #watchers = new Set<(path: string, kind: 'created' | 'modified' | 'removed') => void>();

  /** @param written what memory holds besides, not synced yet */
  constructor(synced: DiskImage = emptyDisk(), written?: DiskImage) {
    this.#synced = decode(synced);
    this.#nodes = written ? decode(written) : new Map(this.#synced);
  }

  find(path: string): MemoryNode | undefined {
    return this.#nodes.get(normalise(path));
  }

  /** Follows symlinks. @throws AlcoveError `GuestFile` */
  resolve(path: string): { path: string; node: MemoryNode } {
    let at = normalise(path);
    for (let hops = 0; hops < 40; hops++) {
      const node = this.#nodes.get(at);
      if (!node) throw fileError(this.#missing(at), path);
      if (node.kind !== 'symlink') return { path: at, node };
      at = normalise(node.target.startsWith('/') ? node.target : `${parentOf(at)}/${node.target}`);
    }
    throw fileError('ELOOP', path);
  }

  /** @throws AlcoveError `GuestFile` */
  readFile(path: string): Uint8Array {
    const { node } = this.resolve(path);
    if (node.kind === 'directory') throw fileError('EISDIR', path);
    return node.data;
  }

  /** Text of a file, for scripts. */
  readText(path: string): string {
    return Buffer.from(this.readFile(path)).toString('utf8');
  }

  /** Writes a file whole; it is not synced by that. @throws AlcoveError `GuestFile` */
  writeFile(path: string, data: Uint8Array | string, attributes: Partial<MemoryNode> = {}): void {
    const existing = this.find(path);
    const at = existing?.kind === 'symlink' ? this.#linkEnd(path) : normalise(path);
    const old = this.#nodes.get(at);
    if (old?.kind === 'directory') throw fileError('EISDIR', path);
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    this.put(at, { ...newNode('file'), ...pickOwner(old), ...attributes, data: Uint8Array.from(bytes) });
  }

  /** Puts a node in its place. @throws AlcoveError `GuestFile` when its folder is not there */
  put(path: string, node: MemoryNode): void {
    const at = normalise(path);
    if (at !== '/') this.#requireFolder(parentOf(at), path);
    const kind = this.#nodes.has(at) ? 'modified' : 'created';
    this.#nodes.set(at, node);
    for (const watcher of this.#watchers) watcher(at, kind);
  }

  makeFolder(path: string, attributes: Partial<MemoryNode> & { parents?: true } = {}): void {
    const { parents, ...rest } = attributes;
    const at = normalise(path);
    const existing = this.#nodes.get(at);
    if (existing) {
      if (parents && existing.kind === 'directory') return;
      throw fileError('EEXIST', path);
    }
    if (parents && !this.#nodes.has(parentOf(at))) this.makeFolder(parentOf(at), { parents });
    this.put(at, { ...newNode('directory'), ...rest });
  }

  /** Names in a folder, sorted. @throws AlcoveError `GuestFile` */
  list(path: string): string[] {
    const { path: at, node } = this.resolve(path);
    if (node.kind !== 'directory') throw fileError('ENOTDIR', path);
    const prefix = at === '/' ? '/' : `${at}/`;
    const names: string[] = [];
    for (const key of this.#nodes.keys()) {
      if (key.startsWith(prefix) && key !== '/' && !key.includes('/', prefix.length))
        names.push(key.slice(prefix.length));
    }
    return names.sort();
  }

  /** @throws AlcoveError `GuestFile` */
  remove(path: string, options: { recursive?: true } = {}): void {
    const at = normalise(path);
    const node = this.#nodes.get(at);
    if (!node) throw fileError('ENOENT', path);
    if (at === '/') throw fileError('EBUSY', path);
    if (node.kind === 'directory' && !options.recursive && this.list(at).length > 0)
      throw fileError('ENOTEMPTY', path);
    for (const key of [...this.#nodes.keys()]) {
      if (key !== at && !key.startsWith(`${at}/`)) continue;
      this.#nodes.delete(key);
      for (const watcher of this.#watchers) watcher(key, 'removed');
    }
  }

  /** @throws AlcoveError `GuestFile` */
  rename(from: string, to: string): void {
    const source = normalise(from);
    const target = normalise(to);
    if (!this.#nodes.has(source)) throw fileError('ENOENT', from);
    if (target === source) return;
    if (target.startsWith(`${source}/`)) throw fileError('EINVAL', to);
    this.#requireFolder(parentOf(target), to);
    if (this.#nodes.has(target)) this.remove(target);
    const moved = [...this.#nodes].filter(([key]) => key === source || key.startsWith(`${source}/`));
    this.remove(source, { recursive: true });
    for (const [key, node] of moved) this.#nodes.set(target + key.slice(source.length), node);
    for (const watcher of this.#watchers) watcher(target, 'created');
  }

  /** Tells of changes until the returned function is called. */
  watch(listener: (path: string, kind: 'created' | 'modified' | 'removed') => void): () => void {
    this.#watchers.add(listener);
    return () => this.#watchers.delete(listener);
  }

  /** Makes everything written so far survive the machine's death. */
  sync(): void {
    this.#synced = new Map(this.#nodes);
  }

  /** What is left of it when the machine dies without a sync. */
  loseUnsynced(): void {
    this.#nodes = new Map(this.#synced);
  }

  /** Bytes in all files. */
  usedBytes(): number {
    let bytes = 0;
    for (const node of this.#nodes.values()) bytes += node.data.length;
    return bytes;
  }

  /** Its content to be stored: all that was written, or only what would survive the machine's death. */
  image(content: 'written' | 'synced'): DiskImage {
    const nodes = content === 'written' ? this.#nodes : this.#synced;
    const image: DiskImage = {};
    for (const path of [...nodes.keys()].sort()) {
      const node = nodes.get(path);
      if (node) image[path] = { ...node, data: Buffer.from(node.data).toString('base64') };
    }
    return image;
  }

  #linkEnd(path: string): string {
    const node = this.find(path);
    if (node?.kind !== 'symlink') return normalise(path);
    const target = node.target.startsWith('/') ? node.target : `${parentOf(normalise(path))}/${node.target}`;
    return normalise(target);
  }

  #requireFolder(at: string, path: string): void {
    const node = this.#nodes.get(at);
    if (!node) throw fileError(this.#missing(at), path);
    if (node.kind !== 'directory') throw fileError('ENOTDIR', path);
  }

  #missing(at: string): string {
    for (let up = parentOf(at); up !== '/'; up = parentOf(up)) {
      const node = this.#nodes.get(up);
      if (node && node.kind === 'file') return 'ENOTDIR';
    }
    return 'ENOENT';
  }
}

export function newNode(kind: MemoryNode['kind']): MemoryNode {
  const mode = { file: 0o644, directory: 0o755, symlink: 0o777 }[kind];
  return { kind, mode, uid: 0, gid: 0, mtimeMs: 0, data: new Uint8Array(0), target: '' };
}

/** `.` and `..` taken out; a path cannot leave the root, as in a kernel. @throws AlcoveError `GuestFile` for what is not absolute */
export function normalise(path: string): string {
  if (!path.startsWith('/') || path.includes('\0')) throw fileError('EINVAL', path);
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

function pickOwner(node: MemoryNode | undefined): Partial<MemoryNode> {
  return node ? { mode: node.mode, uid: node.uid, gid: node.gid } : {};
}

/** The disk of a new machine. */
export function emptyDisk(): DiskImage {
  const folder = { ...newNode('directory'), data: '' };
  return Object.fromEntries(['/', '/etc', '/root', '/tmp', '/var', '/home'].map((path) => [path, folder]));
}

function decode(image: DiskImage): Map<string, MemoryNode> {
  return new Map(
    Object.entries(image).map(([path, node]) => [
      path,
      { ...node, data: Uint8Array.from(Buffer.from(node.data, 'base64')) },
    ]),
  );
}
