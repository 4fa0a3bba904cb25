import type { Alcove } from '../../engine/alcove.ts';
import type { Action, ActionResult, CachePolicy } from '../../executor/index.ts';
import { formatElapsed } from '../human.ts';
import { type Invocation, styleFor } from '../invocation.ts';
import { printable } from '../printable.ts';
import { createCommandOutput } from './command-output.ts';
import { shortKey } from './short-key.ts';

/** Runs an action under a key, and says on standard error whether it had to. Returns the command's exit code. */
export async function runCached(
  alcove: Pick<Alcove, 'execute'>,
  action: Action,
  policy: Exclude<CachePolicy, 'none'>,
  invocation: Invocation,
): Promise<number> {
  const { io, globals, call } = invocation;
  const output = createCommandOutput(invocation);
  const style = styleFor('stderr', io, globals);
  const isJson = globals.format === 'json';
  const result = await alcove.execute(action, policy, {
    ...call,
    onStdoutBytes: (chunk) => output.write('stdout', chunk),
    onStderrBytes: (chunk) => output.write('stderr', chunk),
    onWarning: (message) => {
      if (!isJson) output.say(`${style.warning('warning:')} ${printable(message)}`);
    },
  });
  if (isJson) output.say(JSON.stringify({ run: factsOf(result, policy) }));
  else if (globals.verbosity === 'normal') output.say(style.dim(`alcove: ${inWords(result, policy)}`));
  return result.exitCode;
}

function inWords(result: ActionResult, policy: Exclude<CachePolicy, 'none'>): string {
  const { key, cached, savedMs, exitCode, durationMs } = result;
  const named = key === undefined ? '' : `; key ${shortKey(key)}`;
  if (cached) {
    const saved = savedMs === undefined ? '' : `, saved ${formatElapsed(savedMs)}`;
    return `cached${saved}${named}`;
  }
  const ran = `ran in ${formatElapsed(durationMs)}`;
  if (exitCode !== 0) return `${ran}, not stored: exit code ${exitCode}${named}`;
  return `${ran}, ${isStored(result, policy) ? 'stored' : 'not stored'}${named}`;
}

/** All but the output, which went where it belongs. */
function factsOf(result: ActionResult, policy: Exclude<CachePolicy, 'none'>) {
  const { stdout, stderr, truncated, droppedBytes, ...facts } = result;
  return { ...facts, stored: isStored(result, policy) };
}

function isStored({ cached, exitCode, key }: ActionResult, { mode }: Exclude<CachePolicy, 'none'>): boolean {
  return cached || (exitCode === 0 && key !== undefined && mode !== 'readOnly');
}
