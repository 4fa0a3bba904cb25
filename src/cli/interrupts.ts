import { AlcoveError } from '../errors.ts';
import { exitCodeOfSignal } from './exit-code.ts';
import type { CliIo, EndSignal } from './io.ts';

/** Why the CLI was asked to end from outside: a signal, or a reader of its output that went away. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly signal: EndSignal | 'SIGPIPE';

  constructor(signal: EndSignal | 'SIGPIPE') {
    super(signal === 'SIGPIPE' ? 'the reader of the output went away' : `interrupted by ${signal}`);
    this.signal = signal;
  }

  get exitCode(): number {
    return exitCodeOfSignal(this.signal);
  }
}

/**
 * A repeat of a signal within this time is the same one delivered twice: a terminal sends Ctrl-C to the whole process
 * group, and a wrapper in it (npx, `bin/alcove.js` on an old Node) passes on what it got.
 */
const sameSignalMs = 250;

/** The first signal aborts, so that work ends cleanly; a second one ends the process at once. */
export interface Interrupts extends Disposable {
  readonly signal: AbortSignal;
  readonly reason: Interrupted | AlcoveError<'HostFile'> | undefined;
}

/** Listens for what asks the CLI to end, until disposed. */
export function watchInterrupts(io: CliIo): Interrupts {
  const controller = new AbortController();
  let reason: Interrupts['reason'];
  let atMs = 0;
  const interrupt = (by: Interrupted | AlcoveError<'HostFile'>) => {
    if (reason) return;
    reason = by;
    atMs = io.clock.monotonic();
    controller.abort(by);
  };
  const stopSignals = io.onSignal((signal) => {
    if (reason === undefined) return interrupt(new Interrupted(signal));
    if (
      reason instanceof Interrupted &&
      signal === reason.signal &&
      io.clock.monotonic() - atMs < sameSignalMs
    ) {
      return;
    }
    io.forceExit(reason.exitCode);
  });
  const watched = [
    { stream: io.stdout, onError: (error: Error) => interrupt(writeFailed('standard output', error)) },
    { stream: io.stderr, onError: (error: Error) => interrupt(writeFailed('standard error', error)) },
  ];
  for (const { stream, onError } of watched) stream.on('error', onError);
  return {
    signal: controller.signal,
    get reason() {
      return reason;
    },
    [Symbol.dispose]: () => {
      stopSignals();
      for (const { stream, onError } of watched) stream.off('error', onError);
    },
  };
}

/** EPIPE of a pipe and EIO of a terminal mean that nobody reads any more; anything else is a failure (a full disk). */
function writeFailed(name: string, error: NodeJS.ErrnoException): Interrupted | AlcoveError<'HostFile'> {
  if (error.code === 'EPIPE' || error.code === 'EIO') return new Interrupted('SIGPIPE');
  return new AlcoveError('HostFile', `cannot write ${name}: ${error.message}`, {
    remedy: 'Make room where the output goes, or send it elsewhere.',
    cause: error,
  });
}
