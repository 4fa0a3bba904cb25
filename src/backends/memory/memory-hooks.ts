import { AlcoveError, isAlcoveError } from '../../errors.ts';
import type { GuestHookEvent } from '../../guest/index.ts';
import type { MemoryGuest } from './memory-guest.ts';

/** Paths of the programs for an event: executable files that run-parts would take, in the order of their names. */
export function hooksOf(guest: MemoryGuest, event: GuestHookEvent): string[] {
  const folder = `/etc/alcove/hooks/${event}.d`;
  if (guest.disk.find(folder)?.kind !== 'directory') return [];
  return guest.disk
    .list(folder)
    .filter((name) => !name.startsWith('.') && !name.endsWith('~'))
    .map((name) => `${folder}/${name}`)
    .filter((path) => {
      const node = guest.disk.find(path);
      return node?.kind === 'file' && (node.mode & 0o111) !== 0;
    });
}

/** Runs them as scripted, by their paths. @throws AlcoveError `GuestHookFailed` */
export async function runHooks(
  guest: MemoryGuest,
  event: GuestHookEvent,
  options: { timeoutMs?: number; signal?: AbortSignal },
): Promise<void> {
  const { timeoutMs = 30_000, signal } = options;
  const untilMs = guest.clock.uptimeMs() + timeoutMs;
  for (const hook of hooksOf(guest, event)) {
    signal?.throwIfAborted();
    const output: Uint8Array[] = [];
    const failed = (how: string) => {
      const text = Buffer.concat(output).subarray(-4_096).toString();
      const message = `could not run the ${event} hooks: ${hook} ${how}`;
      return new AlcoveError('GuestHookFailed', message, { details: { hook, output: text } });
    };
    try {
      await using process = guest.exec({
        command: [hook],
        env: { ALCOVE_HOOK: event },
        cwd: '/',
        timeoutMs: Math.max(0, untilMs - guest.clock.uptimeMs()),
        graceMs: 0,
      });
      const collect = async (stream: AsyncIterable<Uint8Array>) => {
        for await (const chunk of stream) output.push(chunk);
      };
      await Promise.all([collect(process.stdout), collect(process.stderr)]);
      const { exitCode, timedOut } = await process.exited;
      if (timedOut) throw failed(`was not done ${timeoutMs} ms after the first began`);
      if (exitCode !== 0) throw failed(`ended with exit code ${exitCode}`);
    } catch (error) {
      throw isAlcoveError(error, 'CommandNotStarted') ? failed(error.message) : error;
    }
  }
}
