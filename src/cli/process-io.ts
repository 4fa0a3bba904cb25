import { isatty } from 'node:tty';
import { systemClock } from '../host/index.ts';
import type { CliIo, CliTerminal, EndSignal } from './io.ts';

/** Looking at the streams themselves would open standard input. */
const descriptors = { stdin: 0, stdout: 1, stderr: 2 } as const;

const endSignals: readonly EndSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** The process this runs in, as the CLI sees it. */
export function processIo(): CliIo {
  const { stdout, stderr } = process;
  // Someone must listen for errors for as long as the process lasts, or a late one ends it with a stack trace.
  for (const stream of [stdout, stderr]) stream.on('error', () => undefined);
  return {
    // Node opens standard input when it is first looked at; most commands never do.
    get stdin() {
      return process.stdin;
    },
    stdout,
    stderr,
    env: process.env,
    clock: systemClock,
    terminal: processTerminal(),
    onSignal(listener) {
      for (const signal of endSignals) process.on(signal, listener);
      return () => {
        for (const signal of endSignals) process.off(signal, listener);
      };
    },
    forceExit: (code) => process.exit(code),
  };
}

function processTerminal(): CliTerminal {
  const { stdout, stderr } = process;
  const screens = [stdout, stderr].filter((stream) => stream.isTTY);
  const size = () => {
    const screen = screens[0];
    // 0 by 0 is what some terminals say that do not know.
    return screen && screen.rows > 0 ? { rows: screen.rows, columns: screen.columns } : undefined;
  };
  return {
    isTerminal: (stream) => isatty(descriptors[stream]),
    size,
    onResize(listener) {
      const screen = screens[0];
      const onResize = () => {
        const now = size();
        if (now) listener(now);
      };
      screen?.on('resize', onResize);
      return () => screen?.off('resize', onResize);
    },
    raw() {
      const { stdin } = process;
      stdin.on('error', () => undefined); // A terminal that was closed cannot be restored, and need not be.
      const restore = () => stdin.setRawMode(false);
      stdin.setRawMode(true);
      process.on('exit', restore); // Also when something ends the process from elsewhere.
      return {
        [Symbol.dispose]: () => {
          process.off('exit', restore);
          restore();
        },
      };
    },
  };
}
