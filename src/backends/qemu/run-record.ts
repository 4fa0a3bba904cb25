import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

const runSchema = z.object({
  version: z.literal(1),
  /** `starting`: the guest has not yet been set up; such a process is ended when found. */
  phase: z.enum(['starting', 'ready']),
  /** Absent between the intent and the spawning. */
  process: z.object({ pid: z.number().int(), startTicks: z.string(), bootId: z.string() }).nullable(),
  accelerator: z.enum(['kvm', 'tcg']),
  /** Directories of its control groups. */
  cgroups: z.array(z.string()),
  /** Which confinement is in force, in words for people. */
  confinement: z.record(z.string(), z.string()),
});

/** What runs for a VM: `run.json` in its directory. Survives the engine, and means nothing after a host boot: not synced. */
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

export function removeRunRecord(path: string): void {
  rmSync(path, { force: true });
}
