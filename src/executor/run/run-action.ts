import { AlcoveError, isAlcoveError } from '../../errors.ts';
import type { ExecResult, GuestFiles } from '../../guest/index.ts';
import { generateId, type SnapshotRef } from '../../vm/index.ts';
import type { Action, ActionPhases, Injection } from '../action.ts';
import { cacheLabel, type ExecutorContext } from '../context.ts';
import { inject } from '../inject/index.ts';
import type { InjectedTree } from '../keys/index.ts';
import { runLabel } from './left-runs.ts';
import type { Outlet } from './outlet.ts';
import { type Retained, type Stream, Transcript, textOf } from './transcript.ts';

/** Output kept unless asked otherwise, both streams together. */
const defaultMaxOutputBytes = 2 ** 20;

export interface RunActionOptions {
  signal: AbortSignal;
  onProgress: (step: string) => void;
  /** Where output goes as it comes. */
  outlet: Outlet;
  /** Told what was injected, before the command runs; returns what the snapshot's label is to say. */
  labelFor: (trees: readonly InjectedTree[]) => string;
}

/** A command that ran to its end, and what its machine was then. */
export interface RanAction {
  exit: Pick<ExecResult, 'exitCode' | 'signal'>;
  output: Retained;
  /** Of one that exited with 0; held until `hold` is disposed. */
  made?: { snapshot: SnapshotRef; sizeBytes: number; hold: Disposable };
  phases: ActionPhases;
}

/**
 * Makes a machine, copies in, runs, and takes the snapshot. The machine is destroyed on every way out, after this has returned or thrown.
 *
 * @throws AlcoveError `CommandTimedOut` with the kept output, and what each step throws; SinkFailed
 */
export async function runAction(
  context: ExecutorContext,
  action: Action,
  options: RunActionOptions,
): Promise<RanAction> {
  const { runtime, clock, background } = context;
  const { signal, onProgress, outlet } = options;
  const call = { signal, onProgress };
  const watch = stopwatch(() => clock.monotonic());
  await context.at('execute.begun');
  const id = generateId('run', context.random);
  let exists = false;
  try {
    onProgress('making the machine');
    await makeMachine(context, id, action, call);
    exists = true;
    await context.at('execute.made');
    onProgress('starting the machine');
    await runtime.start(id, call);
    await context.at('execute.started');
    const machine = watch();
    const trees = await injectAll(context, id, action, call);
    await context.at('execute.injected');
    const injecting = watch();
    const label = options.labelFor(trees);
    onProgress('running');
    const transcript = new Transcript(action.maxOutputBytes ?? defaultMaxOutputBytes);
    const exit = await runCommandOf(context, id, action, { signal, transcript, outlet });
    await outlet.end();
    await context.at('execute.ran');
    const phases = { machine, inject: injecting, run: watch(), command: exit.durationMs, snapshot: 0 };
    const output = transcript.retained();
    if (exit.exitCode !== 0) return { exit, output, phases };
    onProgress('taking the snapshot');
    const { ref } = await runtime.snapshot(id, {
      ...call,
      id: 'result',
      memory: action.memory ? 'include' : 'exclude',
      labels: { [cacheLabel]: label },
    });
    const sizeBytes = await runtime.snapshots.ownBytes(ref);
    const hold = runtime.snapshots.hold(ref);
    await context.at('execute.snapshotted');
    return {
      exit,
      output,
      made: { snapshot: ref, sizeBytes, hold },
      phases: { ...phases, snapshot: watch() },
    };
  } finally {
    if (exists)
      background.run(`destroy VM ${id}`, async () => {
        await runtime.destroy(id);
        await context.at('execute.destroyed');
      });
  }
}

/** The time since the call before, in ms. */
function stopwatch(now: () => number): () => number {
  let last = now();
  return () => {
    const before = last;
    last = now();
    return last - before;
  };
}

type Call = { signal: AbortSignal; onProgress: (step: string) => void };

/** Where there is no room because machines of earlier actions are still being destroyed, waits for those. */
async function makeMachine(context: ExecutorContext, id: string, action: Action, call: Call): Promise<void> {
  const { runtime, background } = context;
  const labels = { [runLabel]: 'yes' };
  for (;;) {
    const wasIdle = background.isIdle;
    try {
      if ('image' in action.source)
        await runtime.create({ id, image: action.source.image, ...action.limits, labels }, call);
      else await runtime.restore(action.source.snapshot, { id, labels }, call);
      return;
    } catch (error) {
      if (wasIdle || !isAlcoveError(error, 'AtCapacity')) throw error;
      await background.next();
    }
  }
}

async function injectAll(
  { runtime }: ExecutorContext,
  id: string,
  action: Action,
  { signal, onProgress }: Call,
): Promise<InjectedTree[]> {
  const injections = injectionsOf(action);
  if (injections.length === 0) return [];
  const files: GuestFiles = (await runtime.guest(id, { signal })).files;
  const trees: InjectedTree[] = [];
  for (const injection of injections) {
    onProgress(`copying ${injection.from} in`);
    trees.push(await inject(files, injection, { signal, onProgress }));
  }
  return trees;
}

export function injectionsOf({ inject: given = [] }: Pick<Action, 'inject'>): readonly Injection[] {
  return Array.isArray(given) ? (given as readonly Injection[]) : [given as Injection];
}

async function runCommandOf(
  { runtime }: ExecutorContext,
  id: string,
  action: Action,
  { signal, transcript, outlet }: { signal: AbortSignal; transcript: Transcript; outlet: Outlet },
): Promise<ExecResult> {
  const { command, env, secrets, workdir, user, timeoutMs, memory } = action;
  const take = (stream: Stream) => (chunk: Uint8Array) => {
    transcript.push(stream, chunk);
    return outlet.push(stream, chunk);
  };
  try {
    return await runtime.exec(id, {
      command,
      env: { ...env, ...secrets },
      ...(workdir !== undefined && { cwd: workdir }),
      ...(user !== undefined && { user }),
      ...(timeoutMs !== undefined && { timeoutMs }),
      ...(memory && { background: 'keep' }),
      maxOutputBytes: 0,
      onStdout: take('stdout'),
      onStderr: take('stderr'),
      signal,
    });
  } catch (error) {
    if (!isAlcoveError(error, 'CommandTimedOut')) throw error;
    const output = transcript.retained();
    const bytesOf = (stream: Stream) => Buffer.from(textOf(output, stream));
    throw new AlcoveError('CommandTimedOut', error.message, {
      details: {
        timeoutMs: error.details?.timeoutMs ?? timeoutMs ?? 0,
        stdout: bytesOf('stdout'),
        stderr: bytesOf('stderr'),
      },
      cause: error,
    });
  }
}
