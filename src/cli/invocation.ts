import type { Alcove, CallOptions, OpenOptions } from '../engine/alcove.ts';
import type { GlobalOptions } from './global-options.ts';
import type { CliIo } from './io.ts';
import { createProgress, type Progress } from './progress.ts';
import { createStyle, type Style } from './style.ts';
import { writeStream } from './write-stream.ts';

export type OpenAlcove = (options: OpenOptions) => Promise<Alcove>;

/** One command being run: what it was told, and how it speaks. */
export interface Invocation {
  readonly io: CliIo;
  readonly globals: GlobalOptions;
  /** Fires when the command was asked to end. */
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** For standard output. */
  readonly style: Style;
  /** Width that tables must fit into; `undefined` where standard output is not a terminal. */
  readonly width: number | undefined;
  /** `signal` and progress for a slow call of the engine. */
  readonly call: Required<CallOptions>;
  /** Writes a result: `value` with `--json`, else what `people` returns; nothing when that is empty. */
  show(value: unknown, people: () => string): Promise<void>;
  /** Opens the engine, works with it, and lets go of it on every way out. `lockWaitMs` goes over the user's. */
  withEngine<T>(work: (alcove: Alcove) => Promise<T>, options?: { lockWaitMs: number }): Promise<T>;
}

export interface InvocationOptions {
  io: CliIo;
  globals: GlobalOptions;
  signal: AbortSignal;
  openAlcove: OpenAlcove;
}

export function createInvocation({ io, globals, signal, openAlcove }: InvocationOptions): Invocation {
  const { terminal } = io;
  const progress = createProgress({
    stderr: io.stderr,
    clock: io.clock,
    mode: globals.verbosity === 'quiet' ? 'none' : terminal.isTerminal('stderr') ? 'live' : 'lines',
    columns: () => terminal.size()?.columns ?? 80,
  });
  return {
    io,
    globals,
    signal,
    progress,
    style: styleFor('stdout', io, globals),
    width: terminal.isTerminal('stdout') ? terminal.size()?.columns : undefined,
    call: { signal, onProgress: progress.step },
    async show(value, people) {
      progress.end();
      const text = globals.format === 'json' ? JSON.stringify(value, undefined, 2) : people();
      if (text) await writeStream(io.stdout, `${text}\n`, signal);
    },
    async withEngine(work, { lockWaitMs } = globals) {
      await using alcove = await openPatiently({
        globals: { ...globals, lockWaitMs },
        signal,
        openAlcove,
        progress,
      });
      try {
        return await work(alcove);
      } finally {
        progress.end();
      }
    },
  };
}

/** Colours as the user wants them, where `stream` shows any. */
export function styleFor(
  stream: 'stdout' | 'stderr',
  io: CliIo,
  globals: Pick<GlobalOptions, 'colour'>,
): Style {
  const wanted = globals.colour === 'auto' && !io.env.NO_COLOR && io.env.TERM !== 'dumb';
  return createStyle(wanted && io.terminal.isTerminal(stream) ? 'on' : 'off');
}

/** Opens the engine; when another process has the state directory, says so and waits a while. */
async function openPatiently(
  options: Pick<InvocationOptions, 'globals' | 'signal' | 'openAlcove'> & { progress: Progress },
): Promise<Alcove> {
  const { globals, signal, openAlcove, progress } = options;
  const { stateDir, backend, lockWaitMs } = globals;
  try {
    progress.step('opening the state directory');
    return await openAlcove({
      ...(stateDir !== undefined && { stateDir }),
      ...(backend !== undefined && { backend }),
      lockWaitMs,
      onLocked: ({ details }) => {
        const pid = details?.pid;
        progress.step(`waiting for another alcove to end${pid === undefined ? '' : ` (pid ${pid})`}`);
      },
      signal,
    });
  } finally {
    progress.end();
  }
}
