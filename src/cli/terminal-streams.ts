import type { Writable } from 'node:stream';
import type { GuestProcess, TerminalSize } from '../guest/index.ts';
import type { Invocation } from './invocation.ts';
import type { CliIo } from './io.ts';
import { writeStream } from './write-stream.ts';

/** What a terminal has that nobody asked for its size. */
export const usualSize: TerminalSize = { rows: 24, columns: 80 };

/** What a program in the guest must know of the terminal here to use its colours. */
export function terminalEnvironment({ env }: Pick<CliIo, 'env'>): Record<string, string> {
  const { TERM, COLORTERM } = env;
  return { ...(TERM && { TERM }), ...(COLORTERM && { COLORTERM }) };
}

export async function pump(
  from: AsyncIterable<Uint8Array>,
  to: Writable,
  signal: AbortSignal,
): Promise<void> {
  for await (const chunk of from) await writeStream(to, chunk, signal);
}

/** Tells the guest of every new size, the one it took on while the command started included. */
export function followSize(
  command: Pick<GuestProcess, 'resize'>,
  startedWith: TerminalSize,
  { io }: Pick<Invocation, 'io'>,
): Disposable {
  const resize = (size: TerminalSize) => {
    command.resize(size).catch(() => undefined); // It has ended; `exited` says why.
  };
  const now = io.terminal.size() ?? startedWith;
  if (now.rows !== startedWith.rows || now.columns !== startedWith.columns) resize(now);
  return { [Symbol.dispose]: io.terminal.onResize(resize) };
}
