import { cancelled } from '../errors.ts';
import { type Clock, systemClock } from '../host/index.ts';
import { ConnectedGuest } from './connected-guest.ts';
import { Connection } from './connection.ts';
import { unreachable } from './failures.ts';
import type { GuestChannel, GuestHello } from './guest-channel.ts';
import { Handshake } from './handshake.ts';
import { Line } from './line.ts';
import { frameType, maxFrameBytes } from './protocol.ts';

/** A socket that is not there yet is looked for again after so long. */
const retryConnectMs = 10;

/** SYNC is sent again after so long: the guest may not have opened its port, and what came before that may be lost. */
const resyncMs = 250;

/** With every so manieth SYNC the zeros that complete a cut frame are sent again, for they may be lost too. */
const zerosEvery = 8;

/** The longest that a timer of Node waits (24.8 days); a longer one would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

export interface ConnectGuestOptions {
  /** Unix socket of the guest's port; it may appear later. */
  socketPath: string;
  /** `fresh` on the first connection after a cold boot; `stale` after a restore, or when somebody was connected before. */
  line: 'fresh' | 'stale';
  /** How long the guest has to appear and answer, in ms from now. */
  deadlineMs: number;
  signal?: AbortSignal | undefined;
  /** @default systemClock */
  clock?: Clock | undefined;
}

/**
 * Connects to the agent of a guest and gets in step with it. What was under way on the line before is ended in the
 * guest, except detached commands.
 *
 * @throws AlcoveError `GuestUnreachable` when it does not answer in time or hangs up, `GuestProtocol` when it speaks
 * another version, `Cancelled`
 */
export async function connectGuest(options: ConnectGuestOptions): Promise<GuestChannel> {
  const clock = options.clock ?? systemClock;
  const giveUpAtMs = clock.monotonic() + options.deadlineMs;
  const line = await findLine(options, clock, giveUpAtMs);
  const handshake = new Handshake();
  const connection = new Connection(line, handshake, clock);
  return new ConnectedGuest(
    connection,
    await getInStep(connection, handshake, options, clock, giveUpAtMs - clock.monotonic()),
  );
}

/** Connects, as soon as somebody listens. */
async function findLine(options: ConnectGuestOptions, clock: Clock, giveUpAtMs: number): Promise<Line> {
  const { socketPath, signal } = options;
  for (;;) {
    if (signal?.aborted) throw cancelled('connecting to the guest', signal);
    const line = new Line();
    try {
      await line.connect(socketPath);
      return line;
    } catch (cause) {
      if (!mayAppear(cause)) throw unreachable(`could not connect to the guest at ${socketPath}`, cause);
      if (clock.monotonic() + retryConnectMs > giveUpAtMs) {
        throw unreachable(`the guest did not listen at ${socketPath} within ${options.deadlineMs} ms`, cause);
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

/** Sends SYNC until the guest answers; closes the connection when it does not. */
async function getInStep(
  connection: Connection,
  handshake: Handshake,
  options: ConnectGuestOptions,
  clock: Clock,
  leftMs: number,
): Promise<GuestHello> {
  const { signal } = options;
  let rounds = 0;
  let stopTimer = () => {};
  const sendSync = () => {
    stopTimer = clock.timer(resyncMs, sendSync);
    // While the guest takes nothing, what waits for it is enough.
    if (connection.writer.queuedBytes > 0) return;
    if (rounds % zerosEvery === 0 && (options.line === 'stale' || rounds > 0)) {
      connection.writer.sendRaw(Buffer.alloc(maxFrameBytes));
    }
    connection.writer.send(frameType.SYNC, 0, 0, handshake.nextSync());
    rounds++;
  };
  const stopDeadline = clock.timer(Math.min(leftMs, maxTimerMs), () => {
    connection.break(unreachable(`the guest did not answer within ${options.deadlineMs} ms`));
  });
  const onAbort = () => connection.break(cancelled('connecting to the guest', signal));
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  else sendSync();
  try {
    const answer = await Promise.race([handshake.answered, connection.closed]);
    if (answer instanceof Error) throw answer;
    return connection.read(() => handshake.hello(answer));
  } finally {
    stopTimer();
    stopDeadline();
    signal?.removeEventListener('abort', onAbort);
  }
}
