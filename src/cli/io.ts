import type { Readable, Writable } from 'node:stream';
import type { TerminalSize } from '../guest/index.ts';
import type { Clock } from '../host/index.ts';

/** Signals that ask the CLI to end. */
export type EndSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** Everything the CLI touches of the process it runs in, so that a test can stand in for all of it. */
export interface CliIo {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly terminal: CliTerminal;
  /** Calls back at each signal; returns how to stop listening. */
  onSignal(listener: (signal: EndSignal) => void): () => void;
  /** Ends the process at once, with what is open left to the operating system. */
  forceExit(exitCode: number): void;
}

/** The terminal the CLI runs on, as far as there is one. */
export interface CliTerminal {
  isTerminal(stream: 'stdin' | 'stdout' | 'stderr'): boolean;
  size(): TerminalSize | undefined;
  /** Calls back when the size has changed; returns how to stop listening. */
  onResize(listener: (size: TerminalSize) => void): () => void;
  /** Keys go to the reader as they are pressed, Ctrl-C too, until disposed. */
  raw(): Disposable;
}
