import { LineSplitter } from '../../guest/index.ts';
import type { OutputMark, Sink } from '../action.ts';
import { piecesOf, type Retained, type Stream } from './transcript.ts';

/** What a caller's callback threw; it ends that caller's action, not that of others who wait for the same. */
export class SinkFailed extends Error {
  constructor(cause: unknown) {
    super('a callback for output failed', { cause });
  }
}

/** Hands output to a {@link Sink}: bytes as they come, and whole lines, whatever the pieces. */
export class Outlet {
  readonly #sink: Sink;
  readonly #about: OutputMark;
  readonly #splitters = { stdout: new LineSplitter(), stderr: new LineSplitter() };

  constructor(sink: Sink, about: OutputMark) {
    this.#sink = sink;
    this.#about = about;
  }

  /** @throws SinkFailed */
  async push(stream: Stream, bytes: Uint8Array): Promise<void> {
    const { onStdout, onStderr, onStdoutBytes, onStderrBytes } = this.#sink;
    const onBytes = stream === 'stdout' ? onStdoutBytes : onStderrBytes;
    const onLine = stream === 'stdout' ? onStdout : onStderr;
    if (onBytes) await this.#call(() => onBytes.call(this.#sink, bytes, this.#about));
    if (onLine) await this.#lines(onLine, this.#splitters[stream].push(bytes));
  }

  /** Last lines without an end. @throws SinkFailed */
  async end(): Promise<void> {
    const { onStdout, onStderr } = this.#sink;
    if (onStdout) await this.#lines(onStdout, this.#splitters.stdout.end());
    if (onStderr) await this.#lines(onStderr, this.#splitters.stderr.end());
  }

  async #lines(onLine: NonNullable<Sink['onStdout']>, lines: readonly string[]): Promise<void> {
    for (const line of lines) await this.#call(() => onLine.call(this.#sink, line, this.#about));
  }

  async #call(callback: () => void | Promise<void>): Promise<void> {
    try {
      await callback();
    } catch (error) {
      throw new SinkFailed(error);
    }
  }
}

/** Hands kept output to a sink, marked as replayed. @throws SinkFailed */
export async function replay(retained: () => Retained, sink: Sink): Promise<void> {
  const { onStdout, onStderr, onStdoutBytes, onStderrBytes } = sink;
  if (!onStdout && !onStderr && !onStdoutBytes && !onStderrBytes) return;
  const outlet = new Outlet(sink, { replayed: true });
  for (const { stream, bytes } of piecesOf(retained())) await outlet.push(stream, bytes);
  await outlet.end();
}

/** A sink that hears no more once `signal` fires: a caller who has given up, of a run that goes on for others. */
export function unlessAborted(sink: Sink, signal: AbortSignal | undefined): Sink {
  if (!signal) return sink;
  const wanted = <A extends unknown[]>(callback: ((...args: A) => void | Promise<void>) | undefined) =>
    callback && ((...args: A) => (signal.aborted ? undefined : callback.apply(sink, args)));
  const onStdout = wanted(sink.onStdout);
  const onStderr = wanted(sink.onStderr);
  const onStdoutBytes = wanted(sink.onStdoutBytes);
  const onStderrBytes = wanted(sink.onStderrBytes);
  return {
    ...(onStdout && { onStdout }),
    ...(onStderr && { onStderr }),
    ...(onStdoutBytes && { onStdoutBytes }),
    ...(onStderrBytes && { onStderrBytes }),
  };
}
