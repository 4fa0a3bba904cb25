import type { CachedExecution } from '../../../src/engine/cached-execution.ts';
import { AlcoveError } from '../../../src/errors.ts';
import type {
  ActionResult,
  CacheEntry,
  CacheEntryDetails,
  CacheGcReport,
  CacheImportReport,
  ExecuteOptions,
  Explanation,
  Pipeline,
  PipelineEvent,
  PipelineResult,
  RunPipelineOptions,
  StepExplanation,
} from '../../../src/executor/index.ts';

/** What an action does. */
export type ActionScript = (options: ExecuteOptions) => Promise<Partial<ActionResult>>;

/** What a pipeline does. `emit` numbers events and waits as the runner does. */
export type PipelineScript = (run: {
  pipeline: Pipeline;
  options: RunPipelineOptions;
  emit(event: Unnumbered<PipelineEvent>): Promise<void>;
}) => Promise<PipelineResult>;

export type Unnumbered<E> = E extends unknown ? Omit<E, 'seq' | 'timeMs'> : never;

const hex = (start: string) => start.padEnd(64, '0');

export function cacheEntry(start: string, changes: Partial<CacheEntry> = {}): CacheEntry {
  return {
    key: `v1:${hex(start)}`,
    snapshot: `run-${start}/done`,
    sizeBytes: 3 << 20,
    createdAtMs: 400_000,
    lastUsedAtMs: 940_000,
    hits: 2,
    exitCode: 0,
    durationMs: 12_300,
    ...changes,
  };
}

/** Cached execution that does what a test says, and logs its calls. */
export class FakeExecutor {
  script: ActionScript = async () => ({});
  entries: CacheEntry[] = [];
  details: Partial<CacheEntryDetails> = {};
  explanation: Explanation = { verdict: 'not cached' };
  gcReport: CacheGcReport = { removed: [], freedBytes: 0 };
  importReport: CacheImportReport = { added: [], kept: [], skipped: [] };
  archive: string[] = ['a ', 'cache'];
  pipeline: PipelineScript = async () => pipelineResult([]);
  steps: StepExplanation[] = [];
  readonly #log: (call: string, ...args: unknown[]) => Promise<void>;

  constructor(log: (call: string, ...args: unknown[]) => Promise<void>) {
    this.#log = log;
  }

  calls(): CachedExecution {
    return {
      execute: async (action, policy, options = {}) => {
        await this.#log('execute', action, policy);
        return {
          exitCode: 0,
          cached: false,
          joined: false,
          durationMs: 4200,
          stdout: '',
          stderr: '',
          truncated: false,
          droppedBytes: 0,
          warnings: [],
          ...(await this.script(options)),
        };
      },
      explain: async (action, policy) => {
        await this.#log('explain', action, policy);
        return this.explanation;
      },
      cache: {
        list: async () => this.entries,
        inspect: async (given) => ({
          ...this.#find(given),
          stdout: '',
          stderr: '',
          truncated: false,
          pinnedBy: [],
          ...this.details,
        }),
        remove: async (keys) => {
          await this.#log('cache.remove', keys);
          this.entries = this.entries.filter(({ key }) => !keys.includes(key));
        },
        gc: async (options) => {
          await this.#log('cache.gc', options);
          return this.gcReport;
        },
        stats: unused,
        hold: unused,
        export: (options) => this.#export(options?.keys),
        import: async (archive) => {
          const chunks: Uint8Array[] = [];
          for await (const chunk of archive) chunks.push(chunk);
          await this.#log('cache.import', Buffer.concat(chunks).toString());
          return this.importReport;
        },
      },
      pipelines: {
        run: async (pipeline, options = {}) => {
          await this.#log('pipelines.run', pipeline, withoutCallbacks(options));
          let seq = 0;
          const emit = async (event: Unnumbered<PipelineEvent>) =>
            options.onEvent?.({ seq: ++seq, timeMs: 0, ...event } as PipelineEvent);
          return await this.pipeline({ pipeline, options, emit });
        },
        explain: async (pipeline, options) => {
          await this.#log('pipelines.explain', pipeline, withoutCallbacks(options ?? {}));
          return this.steps;
        },
      },
    };
  }

  #find(given: string): CacheEntry {
    const found = this.entries.filter(({ key }) => key.startsWith(given));
    const [entry] = found;
    if (entry && found.length === 1) return entry;
    throw new AlcoveError('CacheEntryNotFound', `there is no cached result ${given}`);
  }

  async *#export(keys: readonly string[] | undefined): AsyncGenerator<Uint8Array> {
    await this.#log('cache.export', keys);
    for (const piece of this.archive) yield Buffer.from(piece);
  }
}

export function pipelineResult(
  steps: PipelineResult['steps'],
  changes: Partial<PipelineResult> = {},
): PipelineResult {
  return { status: 'passed', exitCode: 0, durationMs: 5000, savedMs: 0, steps, ...changes };
}

function withoutCallbacks({ signal, onEvent, ...rest }: RunPipelineOptions): object {
  return rest;
}

function unused(): never {
  throw new Error('the CLI should not need this');
}
