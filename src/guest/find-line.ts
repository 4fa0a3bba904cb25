import { cancelled } from '../errors.ts';
import type { Clock } from '../host/index.ts';
import { unreachable } from './failures.ts';
import { Line } from './line.ts';

/** A socket that is not there yet is looked for again after so long. */
const retryConnectMs = 10;

/**
 * Connects to a Unix socket as soon as somebody listens.
 *
 * @param giveUpAtMs of the clock's monotonic time
 * @throws AlcoveError `GuestUnreachable`, `Cancelled`
 */
export async function findLine(
  socketPath: string,
  giveUpAtMs: number,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<Line> {
  for (;;) {
    if (signal?.aborted) throw cancelled('connecting to the guest', signal);
    const line = new Line();
    try {
      await line.connect(socketPath);
      return line;
    } catch (cause) {
      if (!mayAppear(cause)) throw unreachable(`could not connect to the guest at ${socketPath}`, cause);
      if (clock.monotonic() + retryConnectMs > giveUpAtMs) {
        throw unreachable(`the guest did not listen at ${socketPath} in time`, cause);
      }
    }
    await clock.sleep(retryConnectMs, signal).catch(() => {}); // Looked at above.
  }
}

/** Whether a socket that cannot be connected to now may be there, or be free, in a moment. */
function mayAppear(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'EAGAIN';
}
