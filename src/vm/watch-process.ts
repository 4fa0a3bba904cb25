import { isAlcoveError } from '../errors.ts';
import type { ExecExit, GuestProcess } from '../guest/index.ts';
import type { Clock } from '../host/index.ts';
import { type Run, vmDied } from './run.ts';

/** The channel of a machine that dies may break before the machine's end is seen; so long the better reason is waited for, in ms. */
const deathNoticeMs = 1000;

/** A command that hears of its VM's death at once, as `VmFailed` with the reason, whatever its channel does. */
export function watchProcess(process: GuestProcess, vmId: string, run: Run, clock: Clock): GuestProcess {
  const exited = Promise.withResolvers<ExecExit>();
  const stopListening = run.onEnd((reason) => {
    if (reason !== undefined) exited.reject(vmDied(vmId, reason));
  });
  process.exited.then(exited.resolve, async (error: unknown) => {
    if (isAlcoveError(error, 'GuestUnreachable')) await endOrTimeout(run, clock);
    exited.reject(run.reason === undefined ? error : vmDied(vmId, run.reason));
  });
  // Whoever does not ask for the exit must not end the engine by that.
  exited.promise.catch(() => undefined).finally(stopListening);
  return {
    pid: process.pid,
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    exited: exited.promise,
    kill: (signal) => process.kill(signal),
    resize: (size) => process.resize(size),
    [Symbol.asyncDispose]: () => process[Symbol.asyncDispose](),
  };
}

/** Resolves when the run has ended, or after a moment. */
export function endOrTimeout(run: Run, clock: Clock): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const cancelTimer = clock.timer(deathNoticeMs, resolve);
  const stopListening = run.onEnd(() => resolve());
  return promise.finally(() => {
    cancelTimer();
    stopListening();
  });
}
