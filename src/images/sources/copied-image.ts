import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import { digestOf, hexOf } from '../digest.ts';
import type { ImageConfig } from '../image.ts';
import type { Layer } from '../layers/layer.ts';
import type { ImageContents } from './image-contents.ts';
import { configSchema, manifestSchema } from './oci-schema.ts';
import { architecture } from './platform.ts';

/**
 * Reads an image that `skopeo copy … dir:` wrote: `manifest.json` as it was at its source, and blobs named by digest.
 *
 * @throws AlcoveError `ImageInvalid`
 */
export async function readCopiedImage(dir: string, name: string): Promise<ImageContents> {
  const manifestBytes = await readFile(join(dir, 'manifest.json'));
  const manifest = parse(manifestBytes, manifestSchema, `the manifest of ${name}`);
  const configBytes = await readFile(join(dir, hexOf(manifest.config.digest)));
  if (digestOf(configBytes) !== manifest.config.digest) {
    throw new AlcoveError('ImageInvalid', `the configuration of ${name} is not what its digest says`);
  }
  const config = parse(configBytes, configSchema, `the configuration of ${name}`);
  checkPlatform(config, name);
  const diffIds = config.rootfs?.diff_ids ?? [];
  if (diffIds.length !== manifest.layers.length) {
    throw new AlcoveError(
      'ImageInvalid',
      `the manifest of ${name} has ${manifest.layers.length} layers, its configuration ${diffIds.length}`,
    );
  }
  return {
    digest: digestOf(manifestBytes),
    config: imageConfig(config),
    layers: manifest.layers.map(({ digest, mediaType }, index): Layer => {
      const diffId = diffIds[index];
      if (!mediaType.includes('tar') || mediaType.includes('encrypted')) {
        throw new AlcoveError('ImageInvalid', `${name} has a layer of the unknown type ${mediaType}`);
      }
      return {
        name: `layer ${index + 1} of ${name}`,
        digest,
        ...(diffId && { diffId }),
        whiteouts: 'apply',
        open: (signal) => createReadStream(join(dir, hexOf(digest)), { highWaterMark: 1 << 20, signal }),
      };
    }),
  };
}

/** Parses JSON against a schema. */
export function parse<T extends z.ZodType>(json: string | Buffer, schema: T, what: string): z.infer<T> {
  try {
    return schema.parse(JSON.parse(json.toString()));
  } catch (error) {
    throw new AlcoveError('ImageInvalid', `${what} cannot be used: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function checkPlatform(config: z.infer<typeof configSchema>, name: string): void {
  const { os = '', architecture: arch = '' } = config;
  const fits = (os === '' || os === 'linux') && (arch === '' || arch === architecture);
  if (fits) return;
  throw new AlcoveError('ImageInvalid', `${name} is for ${os}/${arch}, not for linux/${architecture}`, {
    remedy: `Name an image for linux/${architecture}.`,
  });
}

function imageConfig({ config }: z.infer<typeof configSchema>): ImageConfig {
  const env = (config?.Env ?? []).map((pair) => {
    const equals = pair.indexOf('=');
    return equals < 0 ? [pair, ''] : [pair.slice(0, equals), pair.slice(equals + 1)];
  });
  return {
    env: Object.fromEntries(env),
    ...(config?.User && { user: config.User }),
    ...(config?.WorkingDir && { workdir: config.WorkingDir }),
    ...(config?.Entrypoint && { entrypoint: config.Entrypoint }),
    ...(config?.Cmd && { command: config.Cmd }),
  };
}
