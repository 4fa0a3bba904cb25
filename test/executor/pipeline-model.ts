/** A step of the plain model, and how its command is to end. */
export interface ModelStep {
  name: string;
  parent?: string;
  after: readonly string[];
  cached: boolean;
  /** `hang`: not until it is cancelled. */
  plan: 'pass' | 'hit' | 'exit' | 'time out' | 'throw' | 'hang';
  /** What it does instead when it was cancelled before it ended. */
  whenCancelled: 'obey' | 'as planned' | 'throw';
  lines: number;
}

export type ModelEnd = Exclude<ModelStep['plan'], 'hang'> | 'obey';

const cancelledRun = 'the run was cancelled';

/** What a pipeline comes to, in the plainest way: a state for each step, and rules. */
export class PipelineModel {
  /** By name: `waiting`, `running`, or how it ended, as `passed`, `skipped: a`. */
  readonly states: Map<string, string>;
  readonly begun: string[] = [];
  readonly #steps: readonly ModelStep[];
  readonly #limit: number;
  readonly #onFailure: 'stop' | 'keep-going';
  #blame: string | undefined;

  constructor(steps: readonly ModelStep[], limit: number, onFailure: 'stop' | 'keep-going') {
    this.#steps = steps;
    this.#limit = limit;
    this.#onFailure = onFailure;
    this.states = new Map(steps.map(({ name }) => [name, 'waiting']));
    this.#begin();
  }

  get running(): string[] {
    return this.#in('running');
  }

  get cancelled(): boolean {
    return this.#blame !== undefined;
  }

  /** How a step ends when it does so now. */
  endOf({ plan, whenCancelled }: ModelStep): ModelEnd | undefined {
    if (this.cancelled && whenCancelled === 'throw') return 'throw';
    if (this.cancelled && (whenCancelled === 'obey' || plan === 'hang')) return 'obey';
    return plan === 'hang' ? undefined : plan;
  }

  end(name: string, end: ModelEnd): void {
    const cached = this.#steps.find((step) => step.name === name)?.cached;
    if (this.cancelled && (end === 'obey' || end === 'throw')) {
      this.states.set(name, `cancelled: ${this.#blame}`);
      return;
    }
    const status = {
      pass: 'passed',
      hit: cached ? 'cached' : 'passed',
      exit: 'failed',
      throw: 'failed',
      'time out': 'timed out',
      obey: 'failed',
    }[end];
    this.states.set(name, status);
    if (end === 'pass' || end === 'hit') {
      if (!this.cancelled) this.#begin();
    } else if (this.#onFailure === 'stop') {
      this.cancel(name);
    } else {
      this.#skipBelow(name);
      if (!this.cancelled) this.#begin();
    }
  }

  cancel(blame = cancelledRun): void {
    if (this.cancelled) return;
    this.#blame = blame;
    for (const name of this.#in('waiting')) this.states.set(name, `skipped: ${blame}`);
  }

  get exitCode(): number {
    const ends = [...this.states.values()];
    if (ends.includes('failed')) return 1;
    if (ends.includes('timed out')) return 124;
    return ends.every((end) => end === 'passed' || end === 'cached') ? 0 : 130;
  }

  #begin(): void {
    for (const { name, parent, after } of this.#steps) {
      const needs = parent === undefined ? after : [parent, ...after];
      const ready = needs.every((need) => ['passed', 'cached'].includes(this.states.get(need) ?? ''));
      if (this.states.get(name) !== 'waiting' || !ready || this.running.length >= this.#limit) continue;
      this.states.set(name, 'running');
      this.begun.push(name);
    }
  }

  #skipBelow(name: string, root = name): void {
    for (const step of this.#steps) {
      if (this.states.get(step.name) !== 'waiting') continue;
      if (step.parent !== name && !step.after.includes(name)) continue;
      this.states.set(step.name, `skipped: ${root}`);
      this.#skipBelow(step.name, root);
    }
  }

  #in(state: string): string[] {
    return this.#steps.map(({ name }) => name).filter((name) => this.states.get(name) === state);
  }
}
