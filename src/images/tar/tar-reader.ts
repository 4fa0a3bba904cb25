import { ByteSource } from './byte-source.ts';
import { readPax, xattrsOf } from './pax.ts';
import { readSparse } from './sparse.ts';
import { blockSize, displayName, type TarAttributes, type TarEntry, type TarKind } from './tar-entry.ts';
import { invalidTar } from './tar-error.ts';
import { readTarNumber } from './tar-number.ts';

/** Extended headers and long names beyond this are no honest ones: Linux limits a name to 4 KiB and an attribute to 64 KiB. */
const maxHeaderBytes = 4 << 20;

export interface TarReaderOptions {
  /** A tar from elsewhere must have its end mark, or it may be cut between two entries. Some writers of layers leave it out; those have a digest. */
  endMark: 'required' | 'optional';
}

/** An entry as it comes by. Its content can be read until the next entry is asked for; what is not read is passed over. */
export interface TarReaderEntry {
  entry: TarEntry;
  /** The bytes that stand in the tar: of a file with holes only its data, in the order of its map. */
  content(): AsyncGenerator<Buffer>;
}

/**
 * Reads a tar entry by entry: ustar, GNU (long names, large numbers, sparse files) and pax, names and extended attributes
 * byte by byte.
 *
 * A reader of our own because libraries for Node decode pax values as UTF-8 (tar-stream 3.2: `headers.decodePax`), which
 * destroys `security.capability` and names in other encodings.
 *
 * @throws AlcoveError `ImageInvalid` when it is malformed or cut
 */
export async function* readTar(
  chunks: AsyncIterable<Uint8Array>,
  options: TarReaderOptions,
): AsyncGenerator<TarReaderEntry> {
  const source = new ByteSource(chunks);
  try {
    const globals = new Map<string, Buffer>();
    let extended: ExtendedHeader = { pax: new Map(globals) };
    for (;;) {
      const header = await source.read(blockSize);
      if (header.length === 0 && options.endMark === 'optional') return;
      if (header.length < blockSize) throw cutShort();
      if (header.every((byte) => byte === 0)) {
        await source.skip(Number.POSITIVE_INFINITY); // What follows the end mark belongs to the stream's digest.
        return;
      }
      checkSum(header);
      const type = String.fromCharCode(header[156] ?? 0);
      const storedBytes = sizeOf(header, extended);
      if ('xgLK'.includes(type)) {
        await readExtension(type, await readWhole(source, storedBytes), globals, extended);
        continue;
      }
      if (type === 'V') {
        await skipExactly(source, padded(storedBytes)); // A volume label: no file.
      } else {
        yield* readOne(source, header, type, storedBytes, extended);
      }
      extended = { pax: new Map(globals) };
    }
  } finally {
    await source.close();
  }
}

/** What the headers before an entry's own said of it. */
interface ExtendedHeader {
  pax: Map<string, Buffer>;
  longName?: Buffer;
  longTarget?: Buffer;
}

async function* readOne(
  source: ByteSource,
  header: Buffer,
  type: string,
  storedBytes: number,
  extended: ExtendedHeader,
): AsyncGenerator<TarReaderEntry> {
  const name = nameOf(header, extended);
  const hasContent = isFileType(type) && !name.endsWith('/');
  // Of links and directories some writers give a size, but no content follows (POSIX: ignored for links, no data for others).
  const contentBytes = hasContent ? storedBytes : 0;
  const sparse = hasContent ? await readSparse(header, extended.pax, storedBytes, source) : undefined;
  const kind: TarKind = hasContent
    ? { kind: 'file', sizeBytes: sparse?.sizeBytes ?? storedBytes, ...(sparse && { sparse: sparse.map }) }
    : kindOf(type, header, extended, name);
  const entry: TarEntry = { name, attributes: attributesOf(header, extended), ...kind };

  const dataBytes = sparse?.storedBytes ?? contentBytes;
  let readBytes = 0;
  async function* content(): AsyncGenerator<Buffer> {
    for await (const chunk of source.stream(dataBytes - readBytes)) {
      readBytes += chunk.length;
      yield chunk;
    }
    if (readBytes < dataBytes) throw cutShort();
  }
  yield { entry, content };
  await skipExactly(source, padded(dataBytes) - readBytes);
}

function isFileType(type: string): boolean {
  return type === '0' || type === '\0' || type === '7' || type === 'S';
}

function kindOf(type: string, header: Buffer, extended: ExtendedHeader, name: string): TarKind {
  if (isFileType(type)) return { kind: 'directory' }; // Before ustar, a slash at the end made it one.
  const device = () => ({
    major: readTarNumber(header.subarray(329, 337), 'device number'),
    minor: readTarNumber(header.subarray(337, 345), 'device number'),
  });
  switch (type) {
    case '1':
      return { kind: 'hard-link', target: targetOf(header, extended) };
    case '2':
      return { kind: 'symlink', target: targetOf(header, extended) };
    case '3':
      return { kind: 'character-device', ...device() };
    case '4':
      return { kind: 'block-device', ...device() };
    case '5':
      return { kind: 'directory' };
    case '6':
      return { kind: 'fifo' };
    default:
      throw invalidTar(`the tar entry ${displayName(name)} is of the unknown type ${JSON.stringify(type)}`);
  }
}

async function readExtension(
  type: string,
  data: Buffer,
  globals: Map<string, Buffer>,
  extended: ExtendedHeader,
): Promise<void> {
  if (type === 'L') extended.longName = data;
  if (type === 'K') extended.longTarget = data;
  if (type !== 'x' && type !== 'g') return;
  for (const [key, value] of readPax(data)) {
    extended.pax.set(key, value);
    if (type === 'g') globals.set(key, value);
  }
}

function attributesOf(header: Buffer, { pax }: ExtendedHeader): TarAttributes {
  const number = (key: string, start: number, end: number) =>
    paxNumber(pax, key) ?? readTarNumber(header.subarray(start, end), key);
  return {
    mode: readTarNumber(header.subarray(100, 108), 'mode') & 0o7777,
    uid: id(number('uid', 108, 116)),
    gid: id(number('gid', 116, 124)),
    mtimeS: Math.floor(number('mtime', 136, 148)),
    xattrs: xattrsOf(pax),
  };
}

function id(value: number): number {
  if (value < 0 || value > 0xfffffffe) throw invalidTar(`no user or group can have the id ${value}`);
  return value;
}

function sizeOf(header: Buffer, { pax }: ExtendedHeader): number {
  const type = header[156] ?? 0;
  const isExtension = 'xgLK'.includes(String.fromCharCode(type));
  const size =
    (isExtension ? undefined : paxNumber(pax, 'size')) ?? readTarNumber(header.subarray(124, 136), 'size');
  if (size < 0 || (isExtension && size > maxHeaderBytes)) throw invalidTar('malformed size in a tar header');
  return size;
}

function paxNumber(pax: ReadonlyMap<string, Buffer>, key: string): number | undefined {
  const text = pax.get(key)?.toString('latin1');
  if (text === undefined || text === '') return undefined; // An empty value takes back an earlier one.
  const value = /^-?\d{1,20}(\.\d*)?$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(Math.floor(value))) throw invalidTar(`malformed ${key} in a tar`);
  return value;
}

function nameOf(header: Buffer, { pax, longName }: ExtendedHeader): string {
  const fromPax = pax.get('GNU.sparse.name') ?? pax.get('path');
  if (fromPax && fromPax.length > 0) return withoutNul(fromPax);
  if (longName) return upToNul(longName);
  const isUstar = header.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isUstar ? upToNul(header.subarray(345, 500)) : '';
  const name = upToNul(header.subarray(0, 100));
  return prefix === '' ? name : `${prefix}/${name}`;
}

function targetOf(header: Buffer, { pax, longTarget }: ExtendedHeader): string {
  const fromPax = pax.get('linkpath');
  if (fromPax && fromPax.length > 0) return withoutNul(fromPax);
  return upToNul(longTarget ?? header.subarray(157, 257));
}

function upToNul(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('latin1', 0, end < 0 ? field.length : end);
}

function withoutNul(name: Buffer): string {
  if (name.includes(0)) throw invalidTar('a name in a tar holds a NUL byte');
  return name.toString('latin1');
}

/** Both sums are in use: bytes as unsigned numbers (POSIX), as signed ones (old systems). */
function checkSum(header: Buffer): void {
  let unsigned = 0;
  let signed = 0;
  for (let index = 0; index < blockSize; index++) {
    const byte = index >= 148 && index < 156 ? 0x20 : (header[index] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const expected = readTarNumber(header.subarray(148, 156), 'checksum');
  if (expected !== unsigned && expected !== signed) throw invalidTar('a tar header with a wrong checksum');
}

async function readWhole(source: ByteSource, size: number): Promise<Buffer> {
  const data = await source.read(size);
  if (data.length < size) throw cutShort();
  await skipExactly(source, padded(size) - size);
  return data;
}

async function skipExactly(source: ByteSource, size: number): Promise<void> {
  if ((await source.skip(size)) < size) throw cutShort();
}

function padded(size: number): number {
  return Math.ceil(size / blockSize) * blockSize;
}

function cutShort() {
  return invalidTar('the tar is cut short');
}
