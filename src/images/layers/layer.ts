import { createHash } from 'node:crypto';
import { AlcoveError } from '../../errors.ts';
import { decompressed } from '../tar/decompress.ts';

/** A tar that an image is made of. */
export interface Layer {
  /** For messages. */
  name: string;
  /** Its bytes, compressed or not; called twice, and must give the same ones. */
  open(signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Digest of those bytes, where a manifest states it. */
  digest?: string;
  /** Digest of them uncompressed, where a configuration states it or an earlier reading found it. */
  diffId?: string;
  /** Whether `.wh.` names mean removal, as in OCI layers, or are names like others. */
  whiteouts: 'apply' | 'literal';
}

/**
 * The layer's tar, uncompressed. When it has been read to its end, its digests are compared with what is stated, and
 * `onEnd` gets the one of the uncompressed bytes.
 *
 * @throws AlcoveError `ImageInvalid`
 */
export async function* layerTar(
  layer: Layer,
  signal: AbortSignal,
  onEnd: (diffId: string) => void = () => undefined,
): AsyncGenerator<Buffer> {
  const blob = createHash('sha256');
  const tar = createHash('sha256');
  for await (const chunk of decompressed(hashing(layer.open(signal), blob), signal)) {
    signal.throwIfAborted();
    tar.update(chunk);
    yield chunk;
  }
  const diffId = `sha256:${tar.digest('hex')}`;
  check(layer, layer.digest, `sha256:${blob.digest('hex')}`);
  check(layer, layer.diffId, diffId);
  onEnd(diffId);
}

async function* hashing(
  chunks: AsyncIterable<Uint8Array>,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

function check(layer: Layer, stated: string | undefined, found: string): void {
  if (stated === undefined || stated === found) return;
  throw new AlcoveError(
    'ImageInvalid',
    `${layer.name} is not what its digest ${stated} says: it is ${found}`,
    {
      details: { stated, found },
    },
  );
}
