import type { SnapshotRef } from '../../vm/index.ts';
import type { Action, ActionResult, CacheMode, KeyPolicy } from '../action.ts';

/**
 * A graph of named steps.
 *
 * @example
 * export default {
 *   name: 'hello',
 *   steps: {
 *     build: { from: { image: 'builtin' }, command: 'make', inject: { from: 'src', to: '/src' }, workdir: '/src' },
 *     test: { from: { step: 'build' }, command: ['./test.sh'], workdir: '/src' },
 *   },
 * } satisfies Pipeline;
 */
export interface Pipeline {
  /** For people. @default its file's name */
  name?: string;
  /** By name: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`. */
  steps: Readonly<Record<string, Step>>;
  /** Most steps that run at once. @default the host's processors */
  concurrency?: number;
  /**
   * What a step that fails does to the others: with `stop` those that run are cancelled and no other begins; with `keep-going` all that do not
   * depend on it are run to their end. @default 'stop'
   */
  onFailure?: 'stop' | 'keep-going';
  /** How steps are cached that do not say it themselves. @default 'forever' */
  cache?: KeyPolicy;
  /** Relative host paths of steps start here. @default the pipeline file's folder, or the working directory */
  base?: string;
}

export interface Step extends Omit<Action, 'source' | 'name'> {
  from: StepSource;
  /** Steps that must have passed, besides the one it starts from. */
  after?: readonly string[];
  /** A policy for a key of all inputs, or a key of the caller's. @default as the pipeline says */
  cache?: KeyPolicy | { key: string; maxAgeMs?: number };
}

/** `step`: from the snapshot of another step. */
export type StepSource = { image: string } | { snapshot: SnapshotRef } | { step: string };

export type StepStatus = 'passed' | 'cached' | 'failed' | 'timed out' | 'cancelled' | 'skipped';

export interface StepOutcome {
  step: string;
  status: StepStatus;
  /** Of its command, where one has ended. */
  exitCode?: number;
  /** In ms, since it began; 0 for one that did not. */
  durationMs: number;
  /** Of a cached one. */
  savedMs?: number;
  key?: string;
  /** What is kept of it; absent where it is not cached, for then nothing outlives the run. */
  snapshot?: SnapshotRef;
  phases?: ActionResult['phases'];
  /** Of a failed, timed-out or cancelled one. */
  error?: { code: string; message: string; remedy: string };
  /** Of a skipped or cancelled one: the step to blame, which has failed or timed out; or {@link runWasCancelled}, which is no step's name. */
  because?: string;
  /** Of a failed or timed-out one: the last lines of both streams, in the order in which they came; at most 20, long ones cut. */
  lastOutput?: readonly string[];
}

/** Why a step was skipped or cancelled when no step is to blame. */
export const runWasCancelled = 'the run was cancelled';

export interface PipelineResult {
  status: 'passed' | 'failed' | 'timed out' | 'cancelled';
  /** 1 when a step has failed, else 124 when one has timed out, else 130 when the run was cancelled before all had passed, else 0. */
  exitCode: 0 | 1 | 124 | 130;
  durationMs: number;
  savedMs: number;
  /** Those that take part, in the order in which the pipeline declares them; each once. */
  steps: readonly StepOutcome[];
}

export interface RunPipelineOptions {
  signal?: AbortSignal;
  /**
   * Told of everything, in order, one call at a time: the next comes when its promise resolves. Commands wait for it with their output, so
   * nothing is lost on one that is slow. What it throws ends the run. After a cancellation, one that takes nothing for 2 s is told no more.
   */
  onEvent?: (event: PipelineEvent) => void | Promise<void>;
  /** Over the pipeline's. */
  concurrency?: number;
  onFailure?: 'stop' | 'keep-going';
  /** For all steps that are cached. @default 'use' */
  mode?: CacheMode;
  /** Only these steps and those that they need. @default all */
  only?: readonly string[];
}

/**
 * What happens, numbered from 1 without gaps. `timeMs` is when it did, in ms since the epoch.
 *
 * `pipeline-started` is first and `pipeline-ended` last. Each step that takes part has one `step-ended`, and one `step-started` before it
 * unless it was skipped; its progress and output are between the two.
 */
export type PipelineEvent = { seq: number; timeMs: number } & (
  | {
      event: 'pipeline-started';
      name?: string;
      steps: { step: string; from: StepSource; after: readonly string[] }[];
    }
  | { event: 'step-started'; step: string }
  /** A new phase of a running step, in words for people. */
  | { event: 'step-progress'; step: string; doing: string }
  | { event: 'output'; step: string; stream: 'stdout' | 'stderr'; line: string; replayed: boolean }
  | { event: 'warning'; step?: string; message: string }
  | { event: 'step-ended'; outcome: StepOutcome }
  | { event: 'pipeline-ended'; result: PipelineResult }
);
