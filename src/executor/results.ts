import type { ActionResult } from './action.ts';
import type { CacheEntry } from './registry/index.ts';
import type { RanAction } from './run/run-action.ts';
import { type Retained, textOf } from './run/transcript.ts';

interface Call {
  durationMs: number;
  warnings: readonly string[];
}

export function resultOfHit(
  entry: CacheEntry,
  output: Retained,
  { durationMs, warnings }: Call,
): ActionResult {
  return {
    exitCode: 0,
    snapshot: entry.snapshot,
    cached: true,
    joined: false,
    key: entry.key,
    durationMs,
    savedMs: Math.max(0, entry.durationMs - durationMs),
    ...textsOf(output),
    warnings,
  };
}

export function resultOfRun(
  { exit, made, output, phases }: RanAction,
  { durationMs, warnings, key, joined }: Call & { key: string | undefined; joined: boolean },
): ActionResult {
  return {
    exitCode: exit.exitCode,
    ...(exit.signal !== undefined && { signal: exit.signal }),
    ...(made && { snapshot: made.snapshot }),
    cached: false,
    joined,
    ...(key !== undefined && { key }),
    durationMs,
    ...textsOf(output),
    ...(!joined && { phases }),
    warnings,
  };
}

function textsOf(output: Retained): Pick<ActionResult, 'stdout' | 'stderr' | 'truncated' | 'droppedBytes'> {
  const droppedBytes = output.dropped.stdout + output.dropped.stderr;
  return {
    stdout: textOf(output, 'stdout'),
    stderr: textOf(output, 'stderr'),
    truncated: droppedBytes > 0,
    droppedBytes,
  };
}
