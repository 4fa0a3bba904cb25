import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from '../scripts/build.ts';
import { peakMemoryMiB } from './footprint.ts';

/**
 * Runs a command of `alcove`: an engine in a process of its own, whose memory nothing else has been in.
 *
 * @returns how long it took in all, in ms, and the most memory that it had, in MiB
 */
export async function runEngine(
  words: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ total: number; memory: number }> {
  const start = performance.now();
  const program = spawn(process.execPath, [join(root, 'bin/alcove.js'), ...words], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...env },
  });
  const exit = once(program, 'exit');
  let memory = 0;
  while (program.exitCode === null && program.signalCode === null) {
    memory = Math.max(memory, peakMemoryMiB(program.pid ?? 0) ?? 0);
    await Promise.race([exit, sleep(20)]);
  }
  if (program.exitCode !== 0) throw new Error(`alcove ${words.join(' ')} ended with ${program.exitCode}`);
  return { total: performance.now() - start, memory };
}
