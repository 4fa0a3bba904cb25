import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import { digestOf } from '../digest.ts';
import type { ImageSource } from '../image.ts';
import { parse, readCopiedImage } from './copied-image.ts';
import type { ImageContents } from './image-contents.ts';
import { indexSchema, manifestSchema } from './oci-schema.ts';
import { architecture } from './platform.ts';
import { copyImage, inspectRaw, type SkopeoContext } from './skopeo.ts';

type RegistrySource = Extract<ImageSource, { kind: 'registry' }>;

/**
 * The digest of the manifest that a reference means now on this machine's platform. The tag is looked at once; what is
 * copied afterwards is that manifest, wherever the tag has moved by then.
 */
export async function resolveInRegistry(source: RegistrySource, context: SkopeoContext): Promise<string> {
  const flags = source.tls === 'off' ? ['--tls-verify=false'] : [];
  const raw = await inspectRaw(`docker://${withoutTagBesideDigest(source.reference)}`, context, flags);
  const what = `the manifest of ${context.name}`;
  const index = indexSchema.safeParse(parse(raw, manifestSchema.or(indexSchema), what));
  if (!index.success) return digestOf(raw);
  const fitting = index.data.manifests.find(
    ({ platform }) => platform?.os === 'linux' && platform.architecture === architecture,
  );
  if (fitting) return fitting.digest;
  throw new AlcoveError('ImageInvalid', `${context.name} has no image for linux/${architecture}`);
}

/** Copies the image of that manifest here and reads it. */
export async function fetchFromRegistry(
  source: RegistrySource,
  digest: string,
  context: SkopeoContext,
): Promise<ImageContents> {
  const flags = source.tls === 'off' ? ['--src-tls-verify=false'] : [];
  await copyImage(`docker://${repositoryOf(source.reference)}@${digest}`, 'copied', context, flags);
  const contents = await readCopiedImage(join(context.tmpDir, 'copied'), context.name);
  if (contents.digest === digest) return contents;
  throw new AlcoveError('ImageInvalid', `the manifest of ${context.name} is not what its digest says`);
}

/** skopeo takes a tag or a digest, not both; the digest says more. */
function withoutTagBesideDigest(reference: string): string {
  const digest = /@sha256:[0-9a-f]{64}$/.exec(reference)?.[0];
  return digest === undefined ? reference : `${repositoryOf(reference)}${digest}`;
}

/** A colon after the last slash starts a tag; before it, a port. */
function repositoryOf(reference: string): string {
  return reference.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
}
