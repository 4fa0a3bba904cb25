import { isAlcoveError } from '../../errors.ts';
import type { ExecExit, GuestProcess, TerminalSize } from '../../guest/index.ts';
import type { Lease } from '../../sessions/index.ts';
import type { Invocation } from '../invocation.ts';
import { type Input, readInput } from '../read-input.ts';
import { followSize, terminalEnvironment, usualSize } from '../terminal-streams.ts';
import { writeStream } from '../write-stream.ts';
import { untilDetachKey } from './detach-key.ts';
import { TerminalModes } from './terminal-modes.ts';

/** How the terminal here came to leave a shell. */
export type ShellEnd = { how: 'exited'; exitCode: number } | { how: 'detached' } | { how: 'taken over' };

export interface SessionShell extends AsyncDisposable {
  readonly is: 'new' | 'as it was left';
  /** Connects it to the terminal here until one of them ends, Ctrl-] is pressed or the CLI is asked to end. The terminal is as before then. */
  connect(): Promise<ShellEnd>;
}

/** The shell of this name in a session: as it was left, where it still runs, else a new one. It goes on when nobody is connected. */
export async function openShell(
  lease: Lease,
  commandId: string,
  invocation: Invocation,
): Promise<SessionShell> {
  const { io, signal, call } = invocation;
  const size = io.terminal.size() ?? usualSize;
  const known = await lease.vm.detached({ signal });
  const isThere = known.some(({ id, exit }) => id === commandId && exit === undefined);
  const process = isThere
    ? await lease.attach(commandId, call)
    : await lease.spawn(undefined, {
        ...call,
        detachedId: commandId,
        env: terminalEnvironment(io),
        pty: size,
        stdin: 'pipe',
        // As after a login: what was put into the background is not ended with the shell.
        background: 'keep',
      });
  return {
    is: isThere ? 'as it was left' : 'new',
    connect: async () => {
      if (isThere) redraw(process, size);
      return await connect(process, size, invocation);
    },
    [Symbol.asyncDispose]: () => process[Symbol.asyncDispose](),
  };
}

/** Programs draw again when their terminal's size changes; one that is as large as the last one's does not tell them anything. */
function redraw(process: GuestProcess, { rows, columns }: TerminalSize): void {
  for (const size of [
    { rows: rows > 1 ? rows - 1 : rows + 1, columns },
    { rows, columns },
  ])
    process.resize(size).catch(() => undefined); // It has ended; `exited` says why.
}

async function connect(process: GuestProcess, size: TerminalSize, invocation: Invocation): Promise<ShellEnd> {
  const { io, signal } = invocation;
  const modes = new TerminalModes();
  const show = async () => {
    for await (const chunk of process.stdout) {
      modes.note(chunk);
      await writeStream(io.stdout, chunk, signal);
    }
  };
  using _resizes = followSize(process, size, invocation);
  using _raw = io.terminal.raw();
  using input = readInput(io.stdin);
  try {
    return await Promise.race([
      endOf(Promise.all([process.exited, show(), drain(process.stderr)]), signal),
      leave(input, process),
    ]);
  } finally {
    await process[Symbol.asyncDispose](); // Nothing of it comes after what undoes it.
    await writeStream(io.stdout, modes.undo(), signal);
  }
}

/** A terminal has no second stream; it must be read all the same. */
async function drain(stream: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of stream);
}

async function endOf(ended: Promise<[ExecExit, ...unknown[]]>, signal: AbortSignal): Promise<ShellEnd> {
  try {
    const [{ exitCode }] = await ended;
    return { how: 'exited', exitCode };
  } catch (error) {
    // Nobody here gave it up: another client attached.
    if (isAlcoveError(error, 'Cancelled') && !signal.aborted) return { how: 'taken over' };
    throw error;
  }
}

/** Passes on keys until Ctrl-], or until the terminal is gone: it may not send an end of file then, which would end the shell. */
function leave(input: Input, process: GuestProcess): Promise<ShellEnd> {
  const { promise, resolve } = Promise.withResolvers<ShellEnd>();
  const type = async () => {
    for await (const chunk of input) {
      const { keys, detach } = untilDetachKey(chunk);
      if (keys.length > 0) await process.stdin.write(keys).catch(() => undefined); // It has ended; `exited` says why.
      if (detach) break;
    }
  };
  const detached = () => resolve({ how: 'detached' });
  type().then(detached, detached);
  return promise;
}
