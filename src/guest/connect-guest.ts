import { cancelled } from '../errors.ts';
import { type Clock, systemClock } from '../host/index.ts';
import { ConnectedGuest } from './connected-guest.ts';
import { Connection } from './connection.ts';
import { unreachable } from './failures.ts';
import { findLine } from './find-line.ts';
import type { GuestChannel, GuestHello } from './guest-channel.ts';
import { Handshake } from './handshake.ts';
import { frameType, maxFrameBytes } from './protocol.ts';

/** SYNC is sent again after so long: the guest may not have opened its port, and what came before that may be lost. */
const resyncMs = 250;

/** With every so manieth SYNC the zeros that complete a cut frame are sent again, for they may be lost too. */
const zerosEvery = 8;

/**
 * A stale line that stays silent for so long is given up for a new connection: QEMU 7.2 loses the wake-up of a port that
 * was full when it was snapshotted, and passes nothing on until the host has connected anew (agent/PROTOCOL.md). After
 * the first time it is longer than the agent waits for what a SYNC ends (1.5 s), which a new connection restarts.
 */
const silenceMs = { first: 500, later: 3_000 };

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
  const { socketPath, line, signal, clock = systemClock } = options;
  const giveUpAtMs = clock.monotonic() + options.deadlineMs;
  for (let patienceMs = silenceMs.first; ; patienceMs = silenceMs.later) {
    const handshake = new Handshake();
    const found = await findLine(socketPath, giveUpAtMs, clock, signal);
    const connection = new Connection(found, handshake, clock);
    const silentAtMs = line === 'stale' ? clock.monotonic() + patienceMs : Number.POSITIVE_INFINITY;
    const hello = await getInStep(connection, handshake, options, { giveUpAtMs, silentAtMs });
    if (hello !== 'silent') return new ConnectedGuest(connection, hello);
    await connection[Symbol.asyncDispose]();
  }
}

/** Sends SYNC until the guest answers, or has been silent for too long; closes the connection when it fails. */
async function getInStep(
  connection: Connection,
  handshake: Handshake,
  options: ConnectGuestOptions,
  until: { giveUpAtMs: number; silentAtMs: number },
): Promise<GuestHello | 'silent'> {
  const { signal, clock = systemClock } = options;
  const { promise: silence, resolve: fallSilent } = Promise.withResolvers<'silent'>();
  const onDeadline = () =>
    until.silentAtMs < until.giveUpAtMs
      ? fallSilent('silent')
      : connection.break(unreachable(`the guest did not answer within ${options.deadlineMs} ms`));
  const waitMs = Math.min(until.silentAtMs, until.giveUpAtMs) - clock.monotonic();
  const stopDeadline = clock.timer(Math.min(waitMs, maxTimerMs), onDeadline);
  const onAbort = () => connection.break(cancelled('connecting to the guest', signal));
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  const stopSyncs = repeatSync(connection, handshake, options.line, clock);
  try {
    const answer = await Promise.race([handshake.answered, connection.closed, silence]);
    if (answer instanceof Error) throw answer;
    return answer === 'silent' ? answer : connection.read(() => handshake.hello(answer));
  } finally {
    stopSyncs();
    stopDeadline();
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Sends SYNC now and again, until the returned function is called. */
function repeatSync(
  connection: Connection,
  handshake: Handshake,
  line: 'fresh' | 'stale',
  clock: Clock,
): () => void {
  let stopTimer = () => {};
  let rounds = 0;
  const send = () => {
    stopTimer = clock.timer(resyncMs, send);
    // While the guest takes nothing, what waits for it is enough.
    if (connection.writer.queuedBytes > 0) return;
    if (rounds % zerosEvery === 0 && (line === 'stale' || rounds > 0)) {
      connection.writer.sendRaw(Buffer.alloc(maxFrameBytes));
    }
    connection.writer.send(frameType.SYNC, 0, 0, handshake.nextSync());
    rounds++;
  };
  send();
  return () => stopTimer();
}
