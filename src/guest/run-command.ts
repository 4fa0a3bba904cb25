import { AlcoveError, cancelled, isAlcoveError } from '../errors.ts';
import { type Clock, systemClock } from '../host/index.ts';
import { bytesOf } from './call-bytes.ts';
import { commandLabel } from './exec-request.ts';
import { invalid } from './failures.ts';
import type { ExecExit, ExecResult, GuestChannel, GuestProcess } from './guest-channel.ts';
import { HeadTail } from './output/head-tail.ts';
import type { RunOptions } from './run-options.ts';

/** Kept output per stream unless asked otherwise. */
const defaultMaxOutputBytes = 1 << 20;

/** As in the agent, for {@link ExecRequest.graceMs}. */
const defaultGraceMs = 2_000;

/** How much later than the guest's own deadline the host takes things into its hands. */
const backstopMarginMs = 5_000;

/** The longest that a timer of Node waits (24.8 days); a longer one would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

/**
 * Runs a command to its end: feeds its input, hands its output to the sinks as fast as they take it, and keeps the
 * beginning and the end of it.
 *
 * The deadline is enforced in the guest; the host ends the command itself when the guest is late by seconds. When it
 * throws, no process of the command is alive any more, except with `GuestUnreachable` and `GuestProtocol`, when
 * nobody can know, and those that `background: 'keep'` or `detachedId` let go on.
 *
 * @throws AlcoveError `CommandTimedOut` with what was printed before, `CommandNotStarted`, `Cancelled`,
 * `CommandFailed` with `nonZeroExit: 'error'`, `InvalidInput`, `GuestUnreachable`, `GuestProtocol`; and what a sink
 * or the input throws
 * @example
 * const { stdout } = await runCommand(guest, { command: 'uname -r', timeoutMs: 5_000, nonZeroExit: 'error' });
 */
export async function runCommand(
  channel: Pick<GuestChannel, 'exec'>,
  options: RunOptions,
  { clock = systemClock }: { clock?: Clock } = {},
): Promise<ExecResult> {
  if (options.signal?.aborted)
    throw cancelled(`the command ${commandLabel(options.command)}`, options.signal);
  const run = new CommandRun(options, clock);
  try {
    return await run.through(channel);
  } finally {
    run.letGo();
  }
}

/** One run: what was printed, and what stops it. */
class CommandRun {
  readonly #options: RunOptions;
  readonly #stdout: HeadTail;
  readonly #stderr: HeadTail;
  readonly #stop = new AbortController();
  readonly #stopped: Promise<void>;
  readonly #onAbort = () => this.#stop.abort(this.#options.signal?.reason);
  readonly #cancelBackstop: () => void;
  #late = false;
  /** What a sink or the input threw. */
  #failure: { error: unknown } | undefined;

  constructor(options: RunOptions, clock: Clock) {
    const max = options.maxOutputBytes ?? defaultMaxOutputBytes;
    if (!Number.isSafeInteger(max) || max < 0)
      throw invalid('maxOutputBytes', `must be 0 or more, not ${max}`);
    this.#options = options;
    this.#stdout = new HeadTail(max);
    this.#stderr = new HeadTail(max);
    this.#stopped = new Promise((resolve) =>
      this.#stop.signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#cancelBackstop = this.#armBackstop(clock);
  }

  async through(channel: Pick<GuestChannel, 'exec'>): Promise<ExecResult> {
    let exit: ExecExit;
    try {
      const stdin = this.#options.input === undefined ? 'none' : 'pipe';
      const process = await channel.exec({ ...this.#options, stdin }, { signal: this.#stop.signal });
      const streams = this.#stream(process);
      exit = await process.exited;
      if (!exit.timedOut) this.#cancelBackstop();
      // All output has left the guest; a sink that is slow still gets it, unless the run is stopped meanwhile.
      await Promise.race([streams, this.#stopped]);
    } catch (error) {
      throw this.#reason(error);
    }
    if (this.#failure) throw this.#failure.error;
    if (exit.timedOut || this.#late) throw this.#timedOut();
    if (this.#stop.signal.aborted) throw cancelled(this.#label(), this.#options.signal);
    return this.#result(exit);
  }

  /** Stops what runs for this run on the host. */
  letGo(): void {
    this.#cancelBackstop();
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
  }

  #armBackstop(clock: Clock): () => void {
    const { timeoutMs, graceMs = defaultGraceMs } = this.#options;
    if (timeoutMs === undefined) return () => {};
    const backstopMs = timeoutMs + graceMs + backstopMarginMs;
    if (!(backstopMs <= maxTimerMs)) return () => {}; // The guest's own deadline stands.
    return clock.timer(backstopMs, () => {
      this.#late = true;
      this.#stop.abort();
    });
  }

  /** Moves all bytes, until the command's streams end. Never rejects. */
  async #stream(process: GuestProcess): Promise<void> {
    const { input, onStdout, onStderr } = this.#options;
    // Not waited for: a command need not read its input, and its source may never end.
    if (input !== undefined) this.#feed(process, bytesOf(input)).catch((error) => this.#fail(error));
    await Promise.all([
      this.#collect(process.stdout, this.#stdout, onStdout),
      this.#collect(process.stderr, this.#stderr, onStderr),
    ]);
  }

  async #collect(
    stream: AsyncIterable<Uint8Array>,
    kept: HeadTail,
    sink: RunOptions['onStdout'],
  ): Promise<void> {
    const iterator = stream[Symbol.asyncIterator]();
    for (;;) {
      const next = await iterator.next().catch(() => undefined); // `exited` rejects with the same error.
      if (!next || next.done) return;
      kept.push(next.value);
      try {
        await sink?.(next.value);
      } catch (error) {
        this.#fail(error);
        return;
      }
    }
  }

  async #feed(process: GuestProcess, input: AsyncIterable<Uint8Array>): Promise<void> {
    const iterator = input[Symbol.asyncIterator]();
    let over: () => void = () => {};
    let ended = false;
    const onEnd = () => {
      ended = true;
      over();
    };
    process.exited.then(onEnd, onEnd);
    while (!ended) {
      const next = await new Promise<IteratorResult<Uint8Array> | undefined>((resolve, reject) => {
        over = () => resolve(undefined);
        iterator.next().then(resolve, reject);
      });
      if (!next || next.done) break;
      const written = await process.stdin.write(next.value).then(
        () => true,
        () => false, // It reads no more; how it ends says whether that matters.
      );
      if (!written) break;
    }
    if (!ended) await process.stdin.end().catch(() => {}); // As above.
    Promise.resolve(iterator.return?.()).catch(() => {}); // Not waited for: a source that hangs would hang here too.
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#stop.abort(error);
  }

  /** Why a run ended that has no exit. */
  #reason(error: unknown): unknown {
    if (this.#failure) return this.#failure.error;
    // The guest was late, but it has confirmed that the command is gone.
    return this.#late && isAlcoveError(error, 'Cancelled') ? this.#timedOut() : error;
  }

  #timedOut(): AlcoveError<'CommandTimedOut'> {
    const { timeoutMs = 0 } = this.#options;
    return new AlcoveError('CommandTimedOut', `${this.#label()} took longer than ${timeoutMs} ms`, {
      details: { timeoutMs, stdout: this.#stdout.finish().bytes, stderr: this.#stderr.finish().bytes },
    });
  }

  #result(exit: ExecExit): ExecResult {
    const stdout = this.#stdout.finish();
    const stderr = this.#stderr.finish();
    const droppedBytes = stdout.droppedBytes + stderr.droppedBytes + exit.droppedBytes;
    const result: ExecResult = {
      exitCode: exit.exitCode,
      ...(exit.signal !== undefined && { signal: exit.signal }),
      stdout: stdout.bytes.toString(),
      stderr: stderr.bytes.toString(),
      truncated: droppedBytes > 0,
      droppedBytes,
      durationMs: exit.durationMs,
    };
    if (exit.exitCode !== 0 && this.#options.nonZeroExit === 'error') {
      const how = exit.signal === undefined ? `exit code ${exit.exitCode}` : exit.signal;
      const said = lastLine(result.stderr);
      throw new AlcoveError('CommandFailed', `${this.#label()} ended with ${how}${said && `: ${said}`}`, {
        details: { ...result },
      });
    }
    return result;
  }

  #label(): string {
    return `the command ${commandLabel(this.#options.command)}`;
  }
}

/** The last line that says something, for a message; bounded, without control characters. */
function lastLine(text: string): string {
  const line = text.trimEnd().slice(-400).split('\n').at(-1) ?? '';
  return line.replace(/\p{C}+/gu, ' ').slice(-200);
}
