import { extract, pack } from 'tar-stream';
import { AlcoveError, cancelled } from '../../errors.ts';
import type { CallOptions, FileChange, FileStat, GuestFiles, TarInOptions } from '../../guest/index.ts';
import type { MemoryLogEntry } from './call-log.ts';
import { fileError } from './guest-error.ts';
import { type MemoryDisk, type MemoryNode, newNode, normalise } from './memory-disk.ts';

const chunkSize = 65_536;

interface FilesHost {
  readonly disk: MemoryDisk;
  nowMs(): number;
  /** Waits until the guest goes. Throws when it can no longer be reached. */
  ready(path: string, options: CallOptions): Promise<void>;
  log(call: MemoryLogEntry['call'], about: string): void;
}

/** Files of a scripted guest. What is written through here is synced, as the contract says. */
export class MemoryFiles implements GuestFiles {
  readonly #host: FilesHost;

  constructor(host: FilesHost) {
    this.#host = host;
  }

  async *read(
    path: string,
    options: CallOptions & { offset?: number; length?: number } = {},
  ): AsyncGenerator<Uint8Array> {
    await this.#begin('read', path, options);
    const data = this.#host.disk.readFile(path);
    const from = options.offset ?? 0;
    const end = Math.min(data.length, from + (options.length ?? data.length));
    for (let at = from; at < end; at += chunkSize) {
      yield data.subarray(at, Math.min(end, at + chunkSize));
      await this.#begin(undefined, path, options);
    }
  }

  async write(
    path: string,
    data: AsyncIterable<Uint8Array> | Uint8Array | string,
    options: CallOptions & { mode?: number; uid?: number; gid?: number; append?: true } = {},
  ): Promise<void> {
    await this.#begin('write', path, options);
    const { disk } = this.#host;
    const chunks: Uint8Array[] = options.append && disk.find(path) ? [disk.readFile(path)] : [];
    if (typeof data === 'string' || data instanceof Uint8Array) chunks.push(Buffer.from(data));
    else for await (const chunk of data) chunks.push(chunk);
    await this.#begin(undefined, path, options);
    const { mode, uid, gid } = options;
    disk.writeFile(path, Buffer.concat(chunks), {
      mtimeMs: this.#host.nowMs(),
      ...(mode !== undefined && { mode }),
      ...(uid !== undefined && { uid }),
      ...(gid !== undefined && { gid }),
    });
    disk.sync();
  }

  async stat(path: string, options: CallOptions = {}): Promise<FileStat> {
    await this.#begin(undefined, path, options);
    const node = this.#host.disk.find(path);
    if (!node) throw fileError('ENOENT', path);
    return statOf(normalise(path), node);
  }

  async *list(path: string, options: CallOptions = {}): AsyncGenerator<FileStat> {
    await this.#begin(undefined, path, options);
    const { path: at } = this.#host.disk.resolve(path);
    for (const name of this.#host.disk.list(path)) {
      const child = normalise(`${at}/${name}`);
      const node = this.#host.disk.find(child);
      if (node) yield statOf(child, node);
    }
  }

  async mkdir(path: string, options: CallOptions & { parents?: true; mode?: number } = {}): Promise<void> {
    await this.#begin(undefined, path, options);
    const { parents, mode } = options;
    this.#host.disk.makeFolder(path, {
      mtimeMs: this.#host.nowMs(),
      ...(parents && { parents }),
      ...(mode !== undefined && { mode }),
    });
    this.#host.disk.sync();
  }

  async remove(path: string, options: CallOptions & { recursive?: true } = {}): Promise<void> {
    await this.#begin('remove', path, options);
    this.#host.disk.remove(path, options);
    this.#host.disk.sync();
  }

  async rename(from: string, to: string, options: CallOptions = {}): Promise<void> {
    await this.#begin('rename', from, options);
    this.#host.disk.rename(from, to);
    this.#host.disk.sync();
  }

  async *watch(path: string, options: CallOptions & { recursive?: true } = {}): AsyncGenerator<FileChange> {
    await this.#begin(undefined, path, options);
    const { path: at } = this.#host.disk.resolve(path);
    const changes: FileChange[] = [];
    let changed = Promise.withResolvers<void>();
    const stopWatching = this.#host.disk.watch((changedPath, kind) => {
      const parent = changedPath.slice(0, changedPath.lastIndexOf('/')) || '/';
      const below = changedPath.startsWith(at === '/' ? '/' : `${at}/`);
      if (parent !== at && !(options.recursive && below)) return;
      changes.push({ path: changedPath, kind });
      changed.resolve();
    });
    const { signal } = options;
    const onAbort = () => changed.reject(cancelled(`watching ${path}`, signal));
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      for (;;) {
        const next = changes.shift();
        if (next) yield next;
        else {
          await changed.promise;
          changed = Promise.withResolvers();
        }
      }
    } finally {
      stopWatching();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async tarIn(path: string, tar: AsyncIterable<Uint8Array>, options: TarInOptions = {}): Promise<void> {
    await this.#begin('tarIn', path, options);
    const { disk } = this.#host;
    const root = normalise(path);
    disk.makeFolder(root, { parents: true });
    const entries = extract();
    const fed = feed(entries, tar);
    for await (const entry of entries) {
      const { name, mode, uid, gid, mtime, type, linkname } = entry.header;
      const chunks: Uint8Array[] = [];
      for await (const chunk of entry) chunks.push(chunk as Uint8Array);
      const at = insideOf(root, name);
      if (options.devices === 'refuse' && isDevice(type)) throw refusedDevice(name);
      for (let up = at; up !== root && up !== '/'; up = up.slice(0, up.lastIndexOf('/')) || '/') {
        if (up !== at && disk.find(up)?.kind === 'symlink') throw escapes(name);
      }
      const attributes = {
        ...(mode !== undefined && { mode: mode & 0o7777 }),
        uid: options.owner?.uid ?? uid ?? 0,
        gid: options.owner?.gid ?? gid ?? 0,
        mtimeMs: mtime?.getTime() ?? 0,
      };
      const parent = at.slice(0, at.lastIndexOf('/')) || '/';
      if (at !== root) disk.makeFolder(parent, { parents: true });
      if (type === 'directory') {
        if (disk.find(at)?.kind !== 'directory') disk.makeFolder(at, attributes);
        else disk.put(at, { ...newNode('directory'), ...attributes });
      } else if (type === 'symlink') {
        disk.put(at, { ...newNode('symlink'), ...attributes, target: linkname ?? '' });
      } else if (type === 'link') {
        disk.put(at, {
          ...newNode('file'),
          ...attributes,
          data: disk.readFile(insideOf(root, linkname ?? '')),
        });
      } else {
        disk.put(at, { ...newNode('file'), ...attributes, data: Buffer.concat(chunks) });
      }
    }
    await fed;
    await this.#begin(undefined, path, options);
    disk.sync();
  }

  async *tarOut(path: string, options: CallOptions = {}): AsyncGenerator<Uint8Array> {
    await this.#begin('tarOut', path, options);
    const { disk } = this.#host;
    const { path: root, node } = disk.resolve(path);
    const tar = pack();
    const add = (at: string, name: string, entry: MemoryNode) => {
      const { kind, mode, uid, gid, mtimeMs, target, data } = entry;
      const header = { name, type: kind, mode, uid, gid, mtime: new Date(mtimeMs) };
      if (kind === 'symlink') tar.entry({ ...header, linkname: target });
      else tar.entry(header, Buffer.from(data));
      if (kind !== 'directory') return;
      for (const child of disk.list(at)) {
        const below = normalise(`${at}/${child}`);
        const childNode = disk.find(below);
        if (childNode) add(below, name === '.' ? child : `${name}/${child}`, childNode);
      }
    };
    add(root, node.kind === 'directory' ? '.' : root.slice(root.lastIndexOf('/') + 1), node);
    tar.finalize();
    for await (const chunk of tar) {
      await this.#begin(undefined, path, options);
      yield chunk as Uint8Array;
    }
  }

  async #begin(call: MemoryLogEntry['call'] | undefined, path: string, options: CallOptions): Promise<void> {
    await this.#host.ready(path, options);
    if (call) this.#host.log(call, path);
  }
}

function statOf(path: string, node: MemoryNode): FileStat {
  const { kind, mode, uid, gid, mtimeMs, data, target } = node;
  return { path, kind, size: data.length, mode, uid, gid, mtimeMs, ...(kind === 'symlink' && { target }) };
}

/** @throws AlcoveError `InvalidInput` for a name that leaves the root */
function insideOf(root: string, name: string): string {
  let depth = 0;
  for (const part of name.split('/')) {
    if (part === '..') depth--;
    else if (part !== '' && part !== '.') depth++;
    if (depth < 0) throw escapes(name);
  }
  if (name.startsWith('/')) throw escapes(name);
  return normalise(`${root}/${name}`);
}

function escapes(name: string): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', `the archive's entry ${name} would leave its place`, {
    details: { field: 'tar' },
  });
}

function isDevice(type: string | null | undefined): boolean {
  return type === 'character-device' || type === 'block-device';
}

function refusedDevice(name: string): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', `the archive's entry ${name} is a device`, {
    details: { field: 'tar' },
  });
}

/** Feeds the archive; a source that fails ends the reading with its error. */
async function feed(entries: ReturnType<typeof extract>, tar: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const chunk of tar) {
      if (entries.destroyed) return;
      entries.write(Buffer.from(chunk));
    }
    entries.end(null);
  } catch (error) {
    entries.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}
