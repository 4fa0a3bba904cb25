import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

const runSchema = z.object({
  version: z.literal(2),
  /** Of the machine: what its sockets, process and control groups are named after. */
  name: z.string(),
  /** `starting`: nobody can use it yet; such a process is ended when found. `spare`: it waits to be taken over. */
  phase: z.enum(['starting', 'spare', 'ready']),
  /** Absent between the intent and the spawning. */
  process: z.object({ pid: z.number().int(), startTicks: z.string(), bootId: z.string() }).nullable(),
  /** Whom QEMU runs as when the engine is root. */
  uid: z.number().int().nullable(),
  /** What its memory can only be continued with; see `machine-facts.ts`. */
  facts: z.record(z.string(), z.string()),
  /** Who the guest was told it is, to tell it again after a pause. */
  identity: z.object({ hostname: z.string(), machineId: z.string(), networked: z.boolean() }).nullable(),
  /** Whether the guest was told to stand still, or may have been; see `wakeLeftAlone`. */
  sealed: z.boolean().default(false),
  /** Digest of the highest memory layer of the last snapshot that was taken of this run. */
  lastLayer: z.string().nullable(),
  /** Directories of its control groups. */
  cgroups: z.array(z.string()),
  /** Which confinement is in force, in words for people. */
  confinement: z.record(z.string(), z.string()),
});

/** What runs in a machine's directory: `run.json`. Survives the engine, and means nothing after a host boot: not synced. */
export type RunRecord = Readonly<z.infer<typeof runSchema>>;

export function writeRunRecord(path: string, record: RunRecord): void {
  writeFileSync(`${path}.tmp`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** @returns `undefined` when there is none, or none that makes sense: the process is then looked for by its name */
export function readRunRecord(path: string): RunRecord | undefined {
  try {
    return runSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined;
  }
}

export function updateRunRecord(path: string, change: Partial<RunRecord>): void {
  const record = readRunRecord(path);
  if (record) writeRunRecord(path, { ...record, ...change });
}
