import { z } from 'zod';

/** The parts of image manifests and configurations that Alcove reads (OCI image specification 1.1; Docker's are alike). */
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'is no sha256 digest');

const descriptor = z.object({ digest, mediaType: z.string().default('') });

export const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  config: descriptor,
  layers: z.array(descriptor),
});

/** An image for several platforms. */
export const indexSchema = z.object({
  manifests: z.array(
    descriptor.extend({ platform: z.object({ os: z.string(), architecture: z.string() }).optional() }),
  ),
});

const words = z.array(z.string()).nullish();

export const configSchema = z.object({
  os: z.string().optional(),
  architecture: z.string().optional(),
  config: z
    .object({
      Env: words,
      User: z.string().nullish(),
      WorkingDir: z.string().nullish(),
      Entrypoint: words,
      Cmd: words,
    })
    .nullish(),
  rootfs: z.object({ diff_ids: z.array(digest).nullish() }).optional(),
});
