import { createReadStream } from 'node:fs';
import { AlcoveError, isAlcoveError } from '../../errors.ts';
import type { Layer } from '../layers/layer.ts';
import { toolOutput } from '../tool-output.ts';
import { emptyConfig, type ImageContents } from './image-contents.ts';

/** An image that is one tar, named by the digest of that tar, uncompressed. */
export function contentsOfTar(name: string, open: Layer['open']): ImageContents {
  return { digest: 'of-the-tar', config: emptyConfig, layers: [{ name, whiteouts: 'literal', open }] };
}

/** A root filesystem in a tar file. */
export function readTarFile(path: string): ImageContents {
  return contentsOfTar(path, (signal) => createReadStream(path, { highWaterMark: 1 << 20, signal }));
}

/**
 * A root filesystem in a directory. Its tar has the entries in the order of their names' bytes, numeric owners, whole
 * seconds, and neither access nor change times: a tree that is the same (contents, names, owners, modes, times of
 * modification, extended attributes) always gives the same digest. Other file systems mounted in it (`/proc`) are left
 * out, and so are sockets, which mean nothing without the process that made them.
 */
export function readDirectory(path: string): ImageContents {
  const args = [
    ...['--create', '--directory', path, '--format=posix', '--sort=name', '--numeric-owner'],
    ...['--pax-option=delete=atime,delete=ctime,delete=mtime', '--one-file-system'],
    ...['--xattrs', '--xattrs-include=*', '--warning=no-file-ignored', '.'],
  ];
  return contentsOfTar(path, (signal) => archive(args, path, signal));
}

async function* archive(args: readonly string[], path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* toolOutput('tar', args, { signal });
  } catch (error) {
    if (!isAlcoveError(error, 'ToolFailed')) throw error;
    throw new AlcoveError('ImageInvalid', `cannot read ${path}: ${error.message}`, {
      remedy: 'Make every file readable, and nothing change it meanwhile; or give a tar.',
      cause: error,
    });
  }
}
