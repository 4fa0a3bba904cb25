import { AlcoveError } from '../errors.ts';
import type { Call, CallRequest } from './call.ts';
import { bytesOf, receiveAll, sendAll } from './call-bytes.ts';
import type { Connection } from './connection.ts';
import type {
  CallOptions,
  FileChange,
  FileKind,
  FileStat,
  GuestFiles,
  TarInOptions,
} from './guest-channel.ts';
import { absolutePath, entryPath, pathBelow } from './guest-path.ts';
import { change, kind, type Op, op, tag } from './protocol.ts';
import { receiveRecords } from './records.ts';
import { required, type TlvReader } from './wire/tlv-reader.ts';
import { TlvWriter } from './wire/tlv-writer.ts';

const kinds = new Map<number, FileKind>([
  [kind.FILE, 'file'],
  [kind.DIRECTORY, 'directory'],
  [kind.SYMLINK, 'symlink'],
  [kind.FIFO, 'fifo'],
  [kind.SOCKET, 'socket'],
  [kind.CHAR, 'char'],
  [kind.BLOCK, 'block'],
]);

const changes = new Map<number, FileChange['kind']>([
  [change.CREATED, 'created'],
  [change.MODIFIED, 'modified'],
  [change.REMOVED, 'removed'],
  [change.MOVED, 'moved'],
  [change.OVERFLOW, 'overflow'],
]);

/** The guest's files, over its connection. */
export class RemoteFiles implements GuestFiles {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  async *read(
    path: string,
    options: CallOptions & { offset?: number; length?: number } = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const request = pathTlvs(path)
      .u64(tag.OFFSET, 'offset', options.offset)
      .u64(tag.LENGTH, 'length', options.length);
    yield* receiveAll(this.#open(op.READ_FILE, `read ${path}`, path, request, options));
  }

  async write(
    path: string,
    data: AsyncIterable<Uint8Array> | Uint8Array | string,
    options: CallOptions & { mode?: number; uid?: number; gid?: number; append?: true } = {},
  ): Promise<void> {
    const request = pathTlvs(path)
      .u32(tag.MODE, 'mode', options.mode)
      .u32(tag.UID, 'uid', options.uid)
      .u32(tag.GID, 'gid', options.gid)
      .flag(tag.APPEND, options.append);
    await sendAll(this.#open(op.WRITE_FILE, `write ${path}`, path, request, options), bytesOf(data));
  }

  async stat(path: string, options: CallOptions = {}): Promise<FileStat> {
    const answer = await this.#ask(op.STAT, `look at ${path}`, path, pathTlvs(path), options);
    return this.#connection.read(() => readStat(answer, path));
  }

  async *list(path: string, options: CallOptions = {}): AsyncGenerator<FileStat, void, undefined> {
    for await (const record of this.#records(op.LIST_DIR, `list ${path}`, path, pathTlvs(path), options)) {
      yield this.#connection.read(() =>
        readStat(record, entryPath(path, required(record.path(tag.PATH), 'a path'))),
      );
    }
  }

  async mkdir(path: string, options: CallOptions & { parents?: true; mode?: number } = {}): Promise<void> {
    const request = pathTlvs(path).flag(tag.PARENTS, options.parents).u32(tag.MODE, 'mode', options.mode);
    await this.#ask(op.MKDIR, `make the directory ${path}`, path, request, options);
  }

  async remove(path: string, options: CallOptions & { recursive?: true } = {}): Promise<void> {
    const request = pathTlvs(path).flag(tag.RECURSIVE, options.recursive);
    await this.#ask(op.REMOVE, `remove ${path}`, path, request, options);
  }

  async rename(from: string, to: string, options: CallOptions = {}): Promise<void> {
    const request = pathTlvs(from).text(tag.PATH2, 'to', absolutePath(to, 'to'));
    await this.#ask(op.RENAME, `rename ${from} to ${to}`, from, request, options);
  }

  async *watch(
    path: string,
    options: CallOptions & { recursive?: true } = {},
  ): AsyncGenerator<FileChange, void, undefined> {
    const request = pathTlvs(path).flag(tag.RECURSIVE, options.recursive);
    for await (const record of this.#records(op.WATCH, `watch ${path}`, path, request, options)) {
      yield this.#connection.read(() => ({
        path: pathBelow(path, required(record.path(tag.PATH), 'a path')),
        kind: known(changes, record.u8(tag.CHANGE), 'a kind of change'),
      }));
    }
  }

  async tarIn(path: string, tar: AsyncIterable<Uint8Array>, options: TarInOptions = {}): Promise<void> {
    const request = pathTlvs(path)
      .u32(tag.UID, 'owner', options.owner?.uid)
      .u32(tag.GID, 'owner', options.owner?.gid)
      .flag(tag.NO_DEVICES, options.devices === 'refuse' || undefined);
    const what = `unpack below ${path}`;
    const answer = await sendAll(this.#open(op.TAR_IN, what, path, request, options, 'tar'), tar);
    if (options.devices === 'refuse' && answer.u8(tag.NO_DEVICES) !== 1) throw cannotRefuse(what);
  }

  async *tarOut(path: string, options: CallOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const request = callRequest(op.TAR_OUT, `pack ${path}`, path, pathTlvs(path), options);
    yield* receiveAll(this.#connection.open({ ...request, delivery: 'bulk' }));
  }

  #open(...request: FileRequest): Call {
    return this.#connection.open(callRequest(...request));
  }

  #ask(...request: FileRequest): Promise<TlvReader> {
    return this.#connection.ask(callRequest(...request));
  }

  #records(...request: FileRequest): AsyncGenerator<TlvReader, void, undefined> {
    return receiveRecords(this.#connection, this.#open(...request));
  }
}

type FileRequest = [
  op: Op,
  what: string,
  path: string,
  tlvs: TlvWriter,
  options: CallOptions,
  field?: string,
];

function callRequest(...[op, what, path, tlvs, options, field = 'path']: FileRequest): CallRequest {
  return { op, payload: tlvs.finish(), subject: { what, path, field }, signal: options.signal };
}

function cannotRefuse(what: string): AlcoveError<'Unsupported'> {
  return new AlcoveError('Unsupported', `could not ${what} without devices: the guest's agent is too old`, {
    remedy: 'Use a machine that was started anew: it gets the agent of this version.',
    details: { capability: 'tarIn with devices refused' },
  });
}

function pathTlvs(path: string): TlvWriter {
  return new TlvWriter().text(tag.PATH, 'path', absolutePath(path));
}

function readStat(tlvs: TlvReader, path: string): FileStat {
  const target = tlvs.path(tag.TARGET);
  return {
    path,
    kind: known(kinds, tlvs.u8(tag.KIND), 'a kind of file'),
    size: required(tlvs.u64(tag.SIZE), 'a size'),
    mode: required(tlvs.u32(tag.MODE), 'a mode') & 0o7777,
    uid: required(tlvs.u32(tag.UID), 'an owner'),
    gid: required(tlvs.u32(tag.GID), 'a group'),
    mtimeMs: Number(required(tlvs.i64(tag.MTIME_NS), 'a time')) / 1e6,
    ...(target !== undefined && { target }),
  };
}

function known<T>(table: ReadonlyMap<number, T>, value: number | undefined, name: string): T {
  return required(value === undefined ? undefined : table.get(value), name);
}
