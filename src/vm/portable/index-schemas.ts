import { z } from 'zod';
import { idPattern } from '../ids.ts';
import { manifestName } from '../snapshot-files.ts';
import { bootArgsSchema, environmentSchema } from '../vm-spec.ts';
import { type ArchivedSnapshot, refusedIndex } from './archive-contents.ts';

export const byteCountSchema = z.int().min(0);
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const text = z.string().max(1 << 17);
const texts = z.record(text, text);
const upTo = (most: number) => z.int().min(1).max(most);

export const imageConfigSchema = z.strictObject({
  env: texts,
  user: text.exactOptional(),
  workdir: text.exactOptional(),
  entrypoint: z.array(text).exactOptional(),
  command: z.array(text).exactOptional(),
});

/** One file name: nothing that leads elsewhere, and not the name of what the runtime itself puts beside the files. */
const fileName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/)
  .refine((name) => name !== manifestName);

// Whether this host has as much is asked when a VM is made; these only keep sums of them whole numbers.
const size = {
  cpus: upTo(1 << 16),
  memoryMiB: upTo(1 << 30),
  diskMiB: upTo(1 << 30),
  network: z.enum(['none', 'user']),
};

// Loose: what a backend adds to its manifests goes along.
export const manifestSchema = z.looseObject({
  formatVersion: z.literal(1),
  backend: z.string().regex(/^[a-z][a-z0-9-]{0,62}$/),
  backendVersion: text,
  kind: z.enum(['disk', 'disk+memory']),
  imageDigest: digest,
  shape: z.looseObject(size),
  facts: texts,
  files: z.record(fileName, z.looseObject({ sizeBytes: byteCountSchema, sha256: sha256Schema })),
  needsParent: z.boolean(),
});

export const blueprintSchema = z.strictObject({
  image: z.strictObject({ reference: text, digest }),
  imageConfig: imageConfigSchema,
  shape: z.strictObject({
    ...size,
    // By digest alone: paths of another host say nothing here.
    kernel: z.strictObject({
      kernelDigest: digest,
      initramfsDigest: digest,
      release: z.string().regex(/^[\w.+~-]{1,200}$/),
    }),
    bootArgs: bootArgsSchema,
  }),
  env: environmentSchema,
});

const id = z.string().regex(idPattern);

/** What every version says of a snapshot. */
export const snapshotFields = {
  vmId: id,
  id,
  createdAtMs: byteCountSchema,
  manifest: manifestSchema,
  blueprint: blueprintSchema,
};

export const memberSchema = z.strictObject({
  name: z.string(),
  sizeBytes: byteCountSchema,
  sha256: sha256Schema,
});

/** @throws AlcoveError `ArchiveInvalid` when it says of itself two things of one kind */
export function requireConsistent({
  manifest: said,
  blueprint,
}: Pick<ArchivedSnapshot, 'manifest' | 'blueprint'>) {
  const { image, shape } = blueprint;
  requireSame([
    ['image', said.imageDigest, image.digest],
    ['cpus', said.shape.cpus, shape.cpus],
    ['memory', said.shape.memoryMiB, shape.memoryMiB],
    ['disk', said.shape.diskMiB, shape.diskMiB],
    ['network', said.shape.network, shape.network],
  ]);
}

/** @throws AlcoveError `ArchiveInvalid` when a snapshot is not of what the one is that it builds on */
export function requireSameBase(
  { blueprint: one }: Pick<ArchivedSnapshot, 'blueprint'>,
  { blueprint: other }: Pick<ArchivedSnapshot, 'blueprint'>,
) {
  requireSame([
    ['image', one.image.digest, other.image.digest],
    ['kernel', one.shape.kernel.kernelDigest, other.shape.kernel.kernelDigest],
    ['initramfs', one.shape.kernel.initramfsDigest, other.shape.kernel.initramfsDigest],
  ]);
}

function requireSame(facts: readonly [fact: string, one: unknown, other: unknown][]): void {
  for (const [fact, one, other] of facts)
    if (one !== other) throw refusedIndex(`names two of one ${fact}: ${one} and ${other}`);
}
