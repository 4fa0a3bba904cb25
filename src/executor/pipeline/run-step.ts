import { AlcoveError, errorTable, isAlcoveError } from '../../errors.ts';
import type { Clock } from '../../host/index.ts';
import type { SnapshotRef } from '../../vm/index.ts';
import type { ActionResult, OutputMark } from '../action.ts';
import type { ActionRunner, HeldResult } from '../execute-options.ts';
import type { EventWriter } from './event-writer.ts';
import { LastLines } from './last-lines.ts';
import { isStored } from './made-snapshots.ts';
import { runWasCancelled, type StepOutcome } from './pipeline.ts';
import type { PlannedStep } from './plan-pipeline.ts';

export interface StepContext {
  runner: ActionRunner;
  clock: Clock;
  events: EventWriter;
  /** Ends the step. */
  signal: AbortSignal;
  /** Why the signal has fired: a step's name, or {@link runWasCancelled}. */
  blame: () => string | undefined;
}

/**
 * Runs a step to its end, whatever that is: it never rejects. When it resolves, nothing more is said of the step but warnings.
 *
 * @param parent what it starts from, where that is a step's
 * @returns `held` where its command has ended
 */
export async function runStep(
  planned: PlannedStep,
  parent: { snapshot: SnapshotRef; stored: boolean } | undefined,
  context: StepContext,
): Promise<{ outcome: StepOutcome; held?: HeldResult }> {
  const { name: step } = planned;
  const { runner, clock, events, signal } = context;
  const startedMs = clock.monotonic();
  const last = new LastLines();
  let ended = false;
  const print = async (stream: 'stdout' | 'stderr', line: string, { replayed }: OutputMark) => {
    if (ended) return; // A command that was stopped may leave lines on their way.
    last.push(line);
    await events.write({ event: 'output', step, stream, line, replayed });
  };
  const about = () => ({ step, durationMs: clock.monotonic() - startedMs });
  try {
    if (planned.parent !== undefined && !parent) throw withoutSnapshot(planned.parent);
    // What was to be stored may not have been, with `readOnly` or on a full disk; then nothing that starts from it can be found again.
    const policy = parent && !parent.stored ? 'none' : planned.policy;
    const source = parent && { snapshot: parent.snapshot };
    const held = await runner.executeHeld(planned.action(source), policy, {
      signal,
      onStdout: (line, mark) => print('stdout', line, mark),
      onStderr: (line, mark) => print('stderr', line, mark),
      onProgress: (doing) => {
        if (!ended) events.postProgress({ event: 'step-progress', step, doing });
      },
      onWarning: (message) => events.post({ event: 'warning', step, message }),
    });
    return { outcome: { ...about(), ...ofResult(held.result, last.lines) }, held };
  } catch (error) {
    const blame = signal.aborted ? context.blame() : undefined;
    return { outcome: { ...about(), ...ofError(error, blame, last.lines) } };
  } finally {
    ended = true;
  }
}

type Ending = Omit<StepOutcome, 'step' | 'durationMs'>;

function ofResult(result: ActionResult, lastOutput: readonly string[]): Ending {
  const { exitCode, cached, savedMs, key, snapshot, phases, signal } = result;
  const facts = {
    exitCode,
    ...(key !== undefined && { key }),
    ...(phases && { phases }),
  };
  if (exitCode !== 0) {
    const how = signal === undefined ? `with exit code ${exitCode}` : `by ${signal}`;
    const { remedy } = errorTable.CommandFailed;
    const error = { code: 'CommandFailed', message: `the command ended ${how}`, remedy };
    return { status: 'failed', ...facts, error, lastOutput };
  }
  return {
    status: cached ? 'cached' : 'passed',
    ...facts,
    ...(cached && savedMs !== undefined && { savedMs }),
    ...(isStored(result) && snapshot !== undefined && { snapshot }),
  };
}

/** @param blame why the step was being ended; absent when it was not */
function ofError(error: unknown, blame: string | undefined, lastOutput: readonly string[]): Ending {
  if (isAlcoveError(error, 'CommandTimedOut')) {
    const { code, message } = error;
    return {
      status: 'timed out',
      error: { code, message, remedy: 'Give the step more time: raise its timeoutMs.' },
      lastOutput,
    };
  }
  const { code, message, remedy } = isAlcoveError(error) ? error : defect(error);
  if (blame === undefined) return { status: 'failed', error: { code, message, remedy }, lastOutput };
  if (code !== 'Cancelled') return { status: 'cancelled', error: { code, message, remedy }, because: blame };
  const why = blame === runWasCancelled ? 'with the run' : `because step ${blame} has not passed`;
  return { status: 'cancelled', error: { code, message: `it was cancelled ${why}`, remedy }, because: blame };
}

function defect(error: unknown): AlcoveError<'Internal'> {
  return new AlcoveError('Internal', error instanceof Error ? error.message : String(error), {
    cause: error,
  });
}

function withoutSnapshot(parent: string): AlcoveError<'Internal'> {
  return new AlcoveError('Internal', `step ${parent} has passed and left no snapshot to start from`);
}
