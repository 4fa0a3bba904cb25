import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import { fileDigestSchema, sealSchema, writeFileDurably } from '../../store/index.ts';

const layerSchema = z.object({
  /** Name in the directory of the disk. */
  file: z.string().regex(/^\d+\.qcow2$/),
  /** Known once a snapshot needed it; a layer below the top never changes again. */
  digest: fileDigestSchema.nullable(),
});

const memorySchema = z.object({
  /** What the machine's RAM is mapped from, lowest first; names in the directory of the memory. */
  layers: z.array(z.object({ file: z.string().regex(/^\d+\.pages$/), digest: fileDigestSchema })),
  /**
   * `kept`: the next start goes on from here. `trying`: one is doing so, and can still be taken back. `used`: the machine has gone on
   * since, and the disk with it; the layers are what its RAM is mapped from.
   */
  state: z.enum(['kept', 'trying', 'used']),
  /** Of the file beside the layers that holds everything else, while it is kept. */
  device: fileDigestSchema.nullable(),
  /** By file, of the layers and the state: as long as one holds, the file is what its digest says (`store/seal.ts`). */
  seals: z.record(z.string(), sealSchema).default({}),
  /** See `machine-facts.ts`. */
  facts: z.record(z.string(), z.string()),
});

const recordSchema = z.object({
  version: z.literal(2),
  mac: z.string(),
  disk: z.object({
    virtualBytes: z.number().int(),
    /** Read-only layers, lowest first. */
    layers: z.array(layerSchema),
    /** The layer that is written. */
    top: z.number().int(),
    /** `as-image`: made from an image, and nothing was ever started on it. */
    content: z.enum(['as-image', 'changed']),
  }),
  memory: memorySchema.nullable(),
});

/** A disk: the writable layer over layers that never change. */
export type DiskRecord = Readonly<z.infer<typeof recordSchema>['disk']>;
export type LayerRecord = Readonly<z.infer<typeof layerSchema>>;
/** RAM, as it is kept. */
export type MemoryRecord = Readonly<z.infer<typeof memorySchema>>;
/** What a VM is, beyond what the runtime gives at every call: `vm.json` in its directory. */
export type VmRecord = Readonly<z.infer<typeof recordSchema>>;

export async function writeVmRecord(path: string, record: VmRecord): Promise<void> {
  await writeFileDurably(path, JSON.stringify(record));
}

/** Whether it is this record that is in place. One that cannot be read is taken for it. */
export async function isOnDisk(path: string, record: VmRecord): Promise<boolean> {
  const text = JSON.stringify(record);
  return (await readFile(path, 'utf8').catch(() => text)) === text;
}

/** @returns `undefined` when there is none: making the VM did not come to its end @throws AlcoveError `StateCorrupt` */
export async function readVmRecord(path: string): Promise<VmRecord | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new AlcoveError('StateCorrupt', `${path} makes no sense`, {
      cause,
      remedy: 'Destroy the VM, and restore it from a snapshot.',
    });
  }
}
