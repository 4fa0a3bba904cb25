import { availableParallelism } from 'node:os';
import { AlcoveError } from '../errors.ts';
import { type Executor, explainPipeline, runPipeline } from '../executor/index.ts';
import { systemClock } from '../host/index.ts';
import type { ImageStore } from '../images/index.ts';
import type { SessionPool, Sessions } from '../sessions/index.ts';
import type { Database, StateDir } from '../store/index.ts';
import {
  checkUserLabels,
  type GarbageOptions,
  type RestoreSpec,
  type RunOptions,
  type SnapshotRef,
  VmHandle,
  type VmRuntime,
  type VmSpec,
} from '../vm/index.ts';
import type { Alcove, AroundRun, CallOptions, Vm } from './alcove.ts';
import { type RunSource, runInNewVm } from './run-in-new-vm.ts';

export interface EngineParts {
  stateDir: StateDir;
  database: Database;
  images: ImageStore;
  runtime: VmRuntime;
  executor: Executor;
  sessions: SessionPool;
  mended: readonly string[];
}

/** The object graph that owns one state directory. */
export class Engine implements Alcove {
  readonly stateDir: string;
  readonly mended: readonly string[];
  readonly snapshots: Alcove['snapshots'];
  readonly images: Alcove['images'];
  readonly warm: Alcove['warm'];
  readonly cache: Alcove['cache'];
  readonly pipelines: Alcove['pipelines'];
  readonly #runtime: VmRuntime;
  readonly #parts: EngineParts;

  constructor(parts: EngineParts) {
    const { stateDir, images, runtime, executor, mended } = parts;
    this.#parts = parts;
    this.stateDir = stateDir.root;
    this.mended = mended;
    this.#runtime = runtime;
    this.snapshots = runtime.snapshots;
    this.warm = runtime.warm;
    this.cache = executor.cache;
    this.pipelines = {
      run: (pipeline, options) =>
        runPipeline(executor, pipeline, {
          ...options,
          clock: systemClock,
          defaultConcurrency: availableParallelism(),
        }),
      explain: (pipeline, options) => explainPipeline(executor, pipeline, options),
    };
    this.images = {
      add: (source, options) => images.add(source, options),
      resolve: (reference, options) => images.resolve(reference, options),
      find: (reference) => images.find(reference),
      list: () => images.list(),
      remove: async (reference) => {
        const digest = (await images.find(reference))?.digest ?? reference;
        await runtime.removeImage(digest, (inUse) => images.remove(reference, inUse));
      },
    };
  }

  async create(spec: VmSpec, options?: CallOptions): Promise<Vm> {
    checkUserLabels(spec.labels);
    return this.#handle((await this.#runtime.create(spec, options)).id);
  }

  async restore(snapshot: SnapshotRef, spec?: RestoreSpec, options?: CallOptions): Promise<Vm> {
    checkUserLabels(spec?.labels);
    return this.#handle((await this.#runtime.restore(snapshot, spec, options)).id);
  }

  get sessions(): Sessions {
    return this.#parts.sessions;
  }

  async vm(id: string): Promise<Vm> {
    const info = await this.#runtime.get(id);
    if (!info) throw new AlcoveError('VmNotFound', `there is no VM ${id}`);
    return this.#handle(id);
  }

  get(id: string) {
    return this.#runtime.get(id);
  }

  list(options?: Parameters<Alcove['list']>[0]) {
    return this.#runtime.list(options);
  }

  diskUsage(options?: CallOptions) {
    return this.#runtime.diskUsage(options);
  }

  collectGarbage(options?: CallOptions & GarbageOptions) {
    return this.#runtime.collectGarbage(options);
  }

  async run(source: RunSource, command: RunOptions, options: CallOptions & { around?: AroundRun } = {}) {
    checkUserLabels(source.labels);
    return runInNewVm(this.#runtime, source, command, options);
  }

  execute(...args: Parameters<Alcove['execute']>) {
    return this.#parts.executor.execute(...args);
  }

  explain(...args: Parameters<Alcove['explain']>) {
    return this.#parts.executor.explain(...args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.sessions.close();
    await this.#parts.executor.close();
    await this.#runtime.close();
    this.#parts.database.close();
    this.#parts.stateDir[Symbol.dispose]();
  }

  #handle(id: string): VmHandle {
    return new VmHandle(this.#runtime, id);
  }
}
