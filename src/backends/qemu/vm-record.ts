import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import { writeFileDurably } from '../../store/index.ts';

const layerSchema = z.object({
  /** Name in the VM's jail. */
  file: z.string().regex(/^\d+\.qcow2$/),
  /** Known once a snapshot needed it; a layer below the top never changes again. */
  digest: z.object({ sizeBytes: z.number().int(), sha256: z.string() }).nullable(),
});

const recordSchema = z.object({
  version: z.literal(1),
  /** Whom QEMU runs as when the engine is root. */
  uid: z.number().int().nullable(),
  mac: z.string(),
  disk: z.object({
    virtualBytes: z.number().int(),
    /** Read-only layers, lowest first. */
    layers: z.array(layerSchema),
    /** The layer that is written. */
    top: z.number().int(),
  }),
});

/** A disk: the writable layer over layers that never change. */
export type DiskRecord = Readonly<z.infer<typeof recordSchema>['disk']>;
export type LayerRecord = Readonly<z.infer<typeof layerSchema>>;
/** What a VM is, beyond what the runtime gives at every call: `vm.json` in its directory. */
export type VmRecord = Readonly<z.infer<typeof recordSchema>>;

export async function writeVmRecord(path: string, record: VmRecord): Promise<void> {
  await writeFileDurably(path, JSON.stringify(record));
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
