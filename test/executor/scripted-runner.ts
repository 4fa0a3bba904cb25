import { AlcoveError, cancelled } from '../../src/errors.ts';
import type {
  Action,
  ActionResult,
  ActionRunner,
  CachePolicy,
  ExecuteOptions,
  Explanation,
  HeldResult,
  SourceFacts,
} from '../../src/executor/index.ts';
import type { SnapshotRef } from '../../src/vm/index.ts';

/** An executor without machines: every call waits until the test says how it ends. */
export class ScriptedRunner implements ActionRunner {
  /** By the step's name, every call that was made. */
  readonly calls = new Map<string, ScriptedCall>();
  /** Names of steps, in the order in which they began. */
  readonly begun: string[] = [];
  readonly running = new Set<string>();
  mostAtOnce = 0;
  /** Snapshots that are there, with how often each is held. */
  readonly snapshots = new Map<SnapshotRef, { stored: boolean; holds: number }>();
  /** In the order in which they went. */
  readonly removed: SnapshotRef[] = [];
  /** What the runner was given that it must not be. */
  readonly complaints: string[] = [];
  readonly #removals = new Map<SnapshotRef, Error>();
  readonly #began: (() => void)[] = [];

  async executeHeld(action: Action, policy: CachePolicy, options: ExecuteOptions): Promise<HeldResult> {
    const name = stepOf(action);
    if (this.calls.has(name)) this.complaints.push(`${name} began twice`);
    const call = new ScriptedCall(this, action, policy, options);
    this.calls.set(name, call);
    this.begun.push(name);
    this.running.add(name);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.running.size);
    for (const wake of this.#began.splice(0)) wake();
    this.expectSource(name);
    try {
      return await call.ended;
    } finally {
      this.expectSource(name);
      this.running.delete(name);
    }
  }

  async explainStep(
    action: Action,
    policy: CachePolicy,
    options: { from?: SourceFacts } = {},
  ): Promise<{ explanation: Explanation; becomes?: SourceFacts }> {
    if (policy === 'none') return { explanation: { verdict: 'not cached' } };
    const from = options.from ? JSON.stringify(options.from.identity) : JSON.stringify(action.source);
    const key = `${action.name}(${from})`;
    const machine = { cpus: 1, memoryMiB: 256, diskMiB: 2048, network: 'none' as const };
    return {
      explanation: { verdict: 'miss', key, why: { reason: 'new' } },
      becomes: { identity: { parent: key }, env: {}, machine },
    };
  }

  async removeSnapshot(snapshot: SnapshotRef): Promise<void> {
    const failure = this.#removals.get(snapshot);
    if (failure) throw failure;
    const known = this.snapshots.get(snapshot);
    if (!known) throw new AlcoveError('SnapshotNotFound', `no snapshot ${snapshot}`);
    if (known.stored) this.complaints.push(`${snapshot} is stored and was to be removed`);
    if (known.holds > 0) this.complaints.push(`${snapshot} is held and was to be removed`);
    this.snapshots.delete(snapshot);
    this.removed.push(snapshot);
  }

  failRemoval(snapshot: SnapshotRef, error: Error): void {
    this.#removals.set(snapshot, error);
  }

  /** The call of a step, as soon as there is one. */
  async call(step: string): Promise<ScriptedCall> {
    for (;;) {
      const call = this.calls.get(step);
      if (call) return call;
      await new Promise<void>((resolve) => this.#began.push(resolve));
    }
  }

  get holds(): number {
    return [...this.snapshots.values()].reduce((sum, { holds }) => sum + holds, 0);
  }

  expectSource(name: string): void {
    const source = this.calls.get(name)?.action.source;
    if (!source || !('snapshot' in source) || !source.snapshot.startsWith('made/')) return;
    if (!this.snapshots.get(source.snapshot)?.holds) {
      this.complaints.push(`${name} starts from ${source.snapshot}, which nobody holds`);
    }
  }
}

/** One call of `executeHeld`. */
export class ScriptedCall {
  readonly action: Action;
  readonly policy: CachePolicy;
  readonly options: ExecuteOptions;
  readonly #runner: ScriptedRunner;
  readonly #end = Promise.withResolvers<HeldResult>();

  constructor(runner: ScriptedRunner, action: Action, policy: CachePolicy, options: ExecuteOptions) {
    this.#runner = runner;
    this.action = action;
    this.policy = policy;
    this.options = options;
    this.#end.promise.catch(() => undefined); // Whoever called it sees it.
  }

  get name(): string {
    return stepOf(this.action);
  }

  get ended(): Promise<HeldResult> {
    return this.#end.promise;
  }

  get aborted(): boolean {
    return this.options.signal?.aborted ?? false;
  }

  /** As a command does: resolves when the reader has taken the line. */
  async print(line: string, stream: 'stdout' | 'stderr' = 'stdout', replayed = false): Promise<void> {
    const sink = stream === 'stdout' ? this.options.onStdout : this.options.onStderr;
    await sink?.call(this.options, line, { replayed });
  }

  pass(more: Partial<ActionResult> = {}): void {
    const snapshot: SnapshotRef = `made/${this.name}`;
    const stores = this.policy !== 'none' && this.policy.mode !== 'readOnly';
    const key = stores || more.cached ? { key: `key of ${this.name}` } : {};
    this.#runner.snapshots.set(snapshot, { stored: 'key' in key, holds: 0 });
    this.#result({ exitCode: 0, snapshot, ...key, ...more });
  }

  hit(savedMs = 0): void {
    this.pass({ cached: true, savedMs });
  }

  exit(exitCode: number, signal?: string): void {
    this.#result({ exitCode, ...(signal !== undefined && { signal }) });
  }

  timeOut(): void {
    const details = { timeoutMs: 1 };
    this.fail(new AlcoveError('CommandTimedOut', 'the command took longer than 1 ms', { details }));
  }

  cancel(): void {
    this.fail(cancelled('the command', this.options.signal));
  }

  /** Ends as commands do that are cancelled: when the signal fires. */
  cancelWhenAborted(): this {
    if (this.aborted) this.cancel();
    this.options.signal?.addEventListener('abort', () => this.cancel(), { once: true });
    return this;
  }

  fail(error: unknown): void {
    this.#end.reject(error);
  }

  #result(facts: Partial<ActionResult> & { exitCode: number }): void {
    const result: ActionResult = {
      cached: false,
      joined: false,
      durationMs: 1,
      stdout: '',
      stderr: '',
      truncated: false,
      droppedBytes: 0,
      warnings: [],
      ...facts,
    };
    const kept = result.snapshot && this.#runner.snapshots.get(result.snapshot);
    if (kept) kept.holds++;
    let disposed = false;
    this.#end.resolve({
      result,
      [Symbol.dispose]: () => {
        if (disposed) this.#runner.complaints.push(`${this.name} was disposed of twice`);
        disposed = true;
        if (kept) kept.holds--;
      },
    });
  }
}

/** The step's name, without the pipeline's. */
function stepOf({ name = '' }: Action): string {
  return name.split('/').at(-1) ?? '';
}
