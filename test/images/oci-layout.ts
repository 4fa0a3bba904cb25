import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { digestOf, hexOf } from '../../src/images/digest.ts';
import { architecture } from '../../src/images/sources/platform.ts';

const layerType = 'application/vnd.oci.image.layer.v1.tar';
/** One frame for each 64 KiB, as writers that compress in parallel do. */
function inFrames(tar: Buffer): Buffer {
  const frames: Buffer[] = [];
  for (let at = 0; at < tar.length; at += 65536) frames.push(zstdCompressSync(tar.subarray(at, at + 65536)));
  return Buffer.concat(frames);
}

const compressions = {
  plain: { suffix: '', compress: (tar: Buffer) => tar },
  gzip: { suffix: '+gzip', compress: (tar: Buffer) => gzipSync(tar) },
  zstd: { suffix: '+zstd', compress: inFrames },
} as const;

export interface MadeImage {
  layers: readonly Buffer[];
  /** @default gzip */
  compression?: keyof typeof compressions;
  /** As in an OCI image configuration. */
  config?: Record<string, unknown>;
  architecture?: string;
  /** Layer digests to state instead of the right ones. */
  diffIds?: readonly string[];
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  platform?: { os: string; architecture: string };
  annotations?: Record<string, string>;
}

/** An OCI image layout with images under tags; an array is an index of images for several platforms. */
export function writeLayout(dir: string, images: Record<string, MadeImage | readonly MadeImage[]>): void {
  mkdirSync(join(dir, 'blobs/sha256'), { recursive: true });
  writeFileSync(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const manifests = Object.entries(images).map(([tag, image]) => ({
    ...('layers' in image ? writeImage(dir, image) : writeIndex(dir, image)),
    annotations: { 'org.opencontainers.image.ref.name': tag },
  }));
  writeFileSync(join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
}

/** Where a layout keeps the bytes of a digest. */
export function blobPath(dir: string, digest: string): string {
  return join(dir, 'blobs/sha256', hexOf(digest));
}

function writeIndex(dir: string, images: readonly MadeImage[]): Descriptor {
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const manifests = images.map((image) => ({
    ...writeImage(dir, image),
    platform: { os: 'linux', architecture: image.architecture ?? architecture },
  }));
  return writeJson(dir, mediaType, { schemaVersion: 2, mediaType, manifests });
}

function writeImage(dir: string, image: MadeImage): Descriptor {
  const { suffix, compress } = compressions[image.compression ?? 'gzip'];
  const config = writeJson(dir, 'application/vnd.oci.image.config.v1+json', {
    os: 'linux',
    architecture: image.architecture ?? architecture,
    config: image.config ?? {},
    rootfs: { type: 'layers', diff_ids: image.diffIds ?? image.layers.map((layer) => digestOf(layer)) },
  });
  const layers = image.layers.map((layer) => writeBlob(dir, `${layerType}${suffix}`, compress(layer)));
  return writeJson(dir, 'application/vnd.oci.image.manifest.v1+json', { schemaVersion: 2, config, layers });
}

function writeJson(dir: string, mediaType: string, value: unknown): Descriptor {
  return writeBlob(dir, mediaType, Buffer.from(JSON.stringify(value)));
}

function writeBlob(dir: string, mediaType: string, data: Buffer): Descriptor {
  const digest = digestOf(data);
  writeFileSync(blobPath(dir, digest), data);
  return { mediaType, digest, size: data.length };
}
