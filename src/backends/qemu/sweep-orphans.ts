import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../host/index.ts';
import { namedProcesses } from './find-processes.ts';
import { readRunRecord } from './run-record.ts';
import { sweep } from './sweep.ts';
import { machinePlaces, type NamingStateDir, processPrefix } from './vm-places.ts';

/**
 * Ends machines that were made for no VM and whose directory is gone: nobody would look for them by a VM's id. Spares that were taken
 * over keep their name, so every directory of a machine is asked for the one it holds.
 */
export async function sweepOrphans(
  stateDir: NamingStateDir,
  machineDirs: readonly string[],
  tmpDir: string,
  clock: Clock,
): Promise<string[]> {
  const prefix = processPrefix(stateDir);
  const known = new Set(machineDirs.flatMap((dir) => readRunRecord(join(dir, 'run.json'))?.name ?? []));
  const orphans = new Set(
    namedProcesses(prefix)
      .map(({ name }) => name.slice(prefix.length))
      .filter((name) => name.includes('_') && !known.has(name)),
  );
  for (const name of orphans) await sweep(machinePlaces(stateDir, name, join(tmpDir, name)), clock);
  return [...orphans].map((name) => `ended the machine ${name}, whose files were gone`);
}

/** `folder` of every directory in a directory, which may be absent. */
export function inEach(dir: string, folder: string): string[] {
  try {
    return readdirSync(dir).map((name) => join(dir, name, folder));
  } catch {
    return [];
  }
}
