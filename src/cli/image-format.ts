import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { extract } from 'tar-stream';
import { AlcoveError } from '../errors.ts';

export const imageFormats = ['tar', 'directory', 'oci-layout', 'oci-archive', 'docker-archive'] as const;

/** What `alcove image import` can read. */
export type ImageFormat = (typeof imageFormats)[number];

/**
 * What a path looks like: a folder with `oci-layout` in it, a tar with the files of an OCI or a Docker archive, else a root
 * filesystem. Reads a tar only as far as it stays in doubt.
 *
 * @throws AlcoveError `HostFile` when it cannot be read
 */
export async function guessImageFormat(path: string): Promise<ImageFormat> {
  try {
    const { isDirectory } = await kindOf(path);
    if (!isDirectory) return await guessTar(path);
    const layout = await kindOf(join(path, 'oci-layout')).catch(() => undefined);
    return layout ? 'oci-layout' : 'directory';
  } catch (error) {
    throw new AlcoveError('HostFile', `cannot read ${path}: ${(error as Error).message}`, {
      details: { path },
      cause: error,
    });
  }
}

async function kindOf(path: string): Promise<{ isDirectory: boolean }> {
  return { isDirectory: (await stat(path)).isDirectory() };
}

async function guessTar(path: string): Promise<ImageFormat> {
  const decompress = decompressors[await compressionOf(path)]?.();
  const entries = extract();
  const streams = [createReadStream(path), ...(decompress ? [decompress] : []), entries];
  pipeline(streams, () => undefined); // An error ends the loop below, and leaving the loop ends the streams.
  try {
    for await (const entry of entries) {
      const format = formatByEntry(entry.header.name);
      if (format) return format;
      entry.resume();
    }
  } catch (error) {
    // A file that is no tar is told so, in better words, by the import itself.
    if ((error as NodeJS.ErrnoException).syscall) throw error;
  }
  return 'tar';
}

/** What one entry's name says; `undefined` for one that archives and root filesystems may both have. */
function formatByEntry(name: string): ImageFormat | undefined {
  const path = name.replace(/^(\.?\/)+/, '').replace(/\/$/, '');
  if (path === 'oci-layout') return 'oci-archive';
  if (path === 'manifest.json' || path === 'repositories') return 'docker-archive';
  const top = path.split('/')[0] ?? '';
  const archive = ['', '.', 'blobs', 'index.json'].includes(top) || /^[0-9a-f]{64}(\.json|\.tar)?$/.test(top);
  return archive ? undefined : 'tar';
}

type Compression = 'none' | 'gzip' | 'zstd';

const decompressors: Partial<Record<Compression, () => NodeJS.ReadWriteStream>> = {
  gzip: createGunzip,
  zstd: createZstdDecompress,
};

/** By the first bytes (RFC 1952, RFC 8878). Archives of images come in no other compression. */
async function compressionOf(path: string): Promise<Compression> {
  await using file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
  if (buffer.readUInt16BE(0) === 0x1f8b) return 'gzip';
  return buffer.readUInt32LE(0) === 0xfd2fb528 ? 'zstd' : 'none';
}
