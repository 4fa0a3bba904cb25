import { systemClock } from '../host/index.ts';
import type { CliIo, CliTerminal, EndSignal } from './io.ts';

const endSignals: readonly EndSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** The process this runs in, as the CLI sees it. */
export function processIo(): CliIo {
  const { stdin, stdout, stderr } = process;
  // Someone must listen for errors for as long as the process lasts, or a late one ends it with a stack trace.
  for (const stream of [stdout, stderr]) stream.on('error', () => undefined);
  return {
    stdin,
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
  const { stdin, stdout, stderr } = process;
  const screens = [stdout, stderr].filter((stream) => stream.isTTY);
  const size = () => {
    const screen = screens[0];
    // 0 by 0 is what some terminals say that do not know.
    return screen && screen.rows > 0 ? { rows: screen.rows, columns: screen.columns } : undefined;
  };
  return {
    isTerminal: (stream) => process[stream].isTTY === true,
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
