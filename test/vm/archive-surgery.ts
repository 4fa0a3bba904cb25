/** Archives taken apart and put together again, as one would who makes a hostile one. */
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { sha256Of } from './portable-fixture.ts';

/** An entry of the archive's tar, taken apart. */
export interface Entry {
  header: Buffer;
  content: Buffer;
}

export function takeApart(tar: Buffer): Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; tar[at] !== 0; ) {
    const sizeBytes = Number.parseInt(tar.toString('latin1', at + 124, at + 135), 8);
    entries.push({
      header: Buffer.from(tar.subarray(at, at + 512)),
      content: Buffer.from(tar.subarray(at + 512, at + 512 + sizeBytes)),
    });
    at += 512 + Math.ceil(sizeBytes / 512) * 512;
  }
  return entries;
}

/** Puts a tar together again, with the checksum that fits, so that a reader must find fault with something else. */
export function putTogether(entries: readonly Entry[], tail = Buffer.alloc(1024)): Buffer {
  const blocks = entries
    .slice(0, -1)
    .flatMap(({ header, content }) => [header, content, Buffer.alloc(-content.length & 511)]);
  const checksum = Buffer.from(`${sha256Of(Buffer.concat(blocks)).slice('sha256:'.length)}\n`);
  const { header } = entries.at(-1) as Entry;
  return zstdCompressSync(Buffer.concat([...blocks, header, checksum, Buffer.alloc(447), tail]));
}

/** Rewrites a header's fields, and its sum. */
export function rewrite(
  header: Buffer,
  fields: { name?: string; type?: string; link?: string; sizeBytes?: number; mode?: string },
) {
  const { name, type, link, sizeBytes, mode } = fields;
  if (name !== undefined) header.fill(0, 0, 100).write(name, 0);
  if (mode !== undefined) header.write(mode, 100);
  if (sizeBytes !== undefined) header.write(sizeBytes.toString(8).padStart(11, '0'), 124);
  if (type !== undefined) header.write(type, 156);
  if (link !== undefined) header.write(link, 157);
  header.write('        ', 148);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
}

/** Changes the JSON of an entry, and its size in its header. */
export function rewriteJson<Json>(entry: Entry, change: (json: Json) => unknown): void {
  const json = JSON.parse(entry.content.toString()) as Json;
  change(json);
  entry.content = Buffer.from(`${JSON.stringify(json, undefined, 2)}\n`);
  rewrite(entry.header, { sizeBytes: entry.content.length });
}

/**
 * Copies of an archive with one bit changed, at so many places all over it. Some bits of a zstd frame mean nothing, as those of a window's
 * size and some of tables: with those flipped the archive is the same one, so they are left out.
 */
export function* withFlippedBits(archive: Buffer, places: number): Iterable<Buffer> {
  const tar = zstdDecompressSync(archive);
  for (let place = 0; place < places; place++) {
    const at = Math.floor((archive.length * place) / places);
    const flipped = Buffer.from(archive);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << (place % 8));
    if (!isSame(flipped, tar)) yield flipped;
  }
}

function isSame(archive: Buffer, tar: Buffer): boolean {
  try {
    return zstdDecompressSync(archive).equals(tar);
  } catch {
    return false;
  }
}

export function nameOf({ header }: Entry): string {
  return header.toString('latin1', 0, header.indexOf(0));
}
