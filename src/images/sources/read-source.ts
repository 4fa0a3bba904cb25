import { stat } from 'node:fs/promises';
import { AlcoveError } from '../../errors.ts';
import type { FlightContext } from '../../host/index.ts';
import type { ImageSource } from '../image.ts';
import type { ImageContents } from './image-contents.ts';
import { fetchLocalImage } from './local-image.ts';
import { readDirectory, readTarFile } from './plain-rootfs.ts';
import { fetchFromRegistry } from './registry-image.ts';

/**
 * Gets hold of a source's tars, copying to `tmpDir` what does not lie on this host as it is needed.
 *
 * @param digest the manifest that a registry's reference was resolved to
 */
export async function readSource(
  source: ImageSource,
  options: { tmpDir: string; digest: string | undefined; context: FlightContext },
): Promise<ImageContents> {
  const { tmpDir, digest, context } = options;
  const skopeo = {
    tmpDir,
    name: displaySource(source),
    origin: source.kind === 'registry' ? 'registry' : 'file',
    signal: context.signal,
  } as const;
  switch (source.kind) {
    case 'registry':
      if (digest === undefined) throw new AlcoveError('Internal', `${source.reference} was not resolved`);
      context.report(`copying ${source.reference}`);
      return fetchFromRegistry(source, digest, skopeo);
    case 'oci-layout':
    case 'oci-archive':
    case 'docker-archive':
      context.report(`copying ${skopeo.name}`);
      return fetchLocalImage(source, skopeo);
    case 'tar':
      return readTarFile(source.path);
    case 'directory':
      return readDirectory(source.path);
  }
}

/** How people name it: the reference, or the path and which image in it. */
export function displaySource(source: ImageSource): string {
  if (source.kind === 'registry') return source.reference;
  const reference = 'reference' in source ? source.reference : undefined;
  return reference === undefined ? source.path : `${source.path}:${reference}`;
}

/** @throws AlcoveError `InvalidInput` when a path is not of the kind that was said */
export async function checkPath(source: ImageSource): Promise<void> {
  if (source.kind === 'registry') return;
  const wantsDirectory = source.kind === 'directory' || source.kind === 'oci-layout';
  const found = await stat(source.path).catch((error: Error) => error);
  const fits = !(found instanceof Error) && (wantsDirectory ? found.isDirectory() : found.isFile());
  if (fits) return;
  const why = found instanceof Error ? found.message : `it is no ${wantsDirectory ? 'directory' : 'file'}`;
  throw new AlcoveError('InvalidInput', `cannot import ${source.path}: ${why}`, {
    remedy: 'Look at the path, and at the kind of source it was said to be.',
    details: { field: 'path' },
    ...(found instanceof Error && { cause: found }),
  });
}
