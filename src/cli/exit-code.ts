import { constants } from 'node:os';

/** What the CLI exits with besides a command's own code and those of the table in `errors.ts`. */
export const exitCode = {
  ok: 0,
  /** `alcove doctor`: VMs cannot run here. */
  unusable: 1,
  /** A command line that cannot be understood. */
  usage: 2,
  failed: 125,
  /** A command that is there but cannot be executed, as shells have it. */
  notExecutable: 126,
} as const;

/** As shells report the end by a signal: 128 and its number. */
export function exitCodeOfSignal(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}
