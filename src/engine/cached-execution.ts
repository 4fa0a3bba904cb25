import type {
  Action,
  ActionResult,
  Cache,
  CachePolicy,
  ExecuteOptions,
  Explanation,
  Pipeline,
  PipelineResult,
  RunPipelineOptions,
  StepExplanation,
} from '../executor/index.ts';

/** Actions that are never run twice. */
export interface CachedExecution {
  /**
   * Runs a command in a machine of its own and keeps what the machine was afterwards, when it exits with 0; or gives what an earlier run
   * of the same made. The machine is gone on every way out.
   *
   * @param policy @default 'none'
   * @throws AlcoveError `CommandTimedOut`, `CommandNotStarted`, `Cancelled`, `InvalidInput`, `ParentNotCached`, `HostFile`, and what making a VM throws
   * @example
   * const built = await alcove.execute(
   *   { source: { image: 'debian:12' }, command: 'make', inject: { from: '.', to: '/src' }, workdir: '/src' },
   *   { auto: 'forever' },
   *   { onStdout: (line) => console.log(line) },
   * );
   */
  execute(action: Action, policy?: CachePolicy, options?: ExecuteOptions): Promise<ActionResult>;
  /** Whether `execute` would be a hit, and why; runs nothing. */
  explain(action: Action, policy: CachePolicy, options?: { signal?: AbortSignal }): Promise<Explanation>;
  readonly cache: Cache;
  readonly pipelines: {
    /** Runs a graph of steps. A step that fails is in the result, not thrown. @throws AlcoveError `PipelineInvalid`, `ParentNotCached`, `InvalidInput` before anything runs, and what `onEvent` throws */
    run(pipeline: Pipeline, options?: RunPipelineOptions): Promise<PipelineResult>;
    /** Of each step, in the order of the pipeline. */
    explain(
      pipeline: Pipeline,
      options?: { signal?: AbortSignal; only?: readonly string[] },
    ): Promise<StepExplanation[]>;
  };
}
