import type { PlannedStep } from './plan-pipeline.ts';

/** Which steps may begin, and what the end of one does to the others. Runs nothing, and knows no time. */
export class Schedule {
  readonly #limit: number;
  readonly #waiting: Map<string, PlannedStep>;
  readonly #running = new Set<string>();
  readonly #passed = new Set<string>();

  /** @param steps in the order of declaration @param limit most that run at once */
  constructor(steps: readonly PlannedStep[], limit: number) {
    this.#waiting = new Map(steps.map((step) => [step.name, step]));
    this.#limit = limit;
  }

  /** No step waits or runs. */
  get over(): boolean {
    return this.#waiting.size === 0 && this.#running.size === 0;
  }

  /** Takes those that may begin now, in the order of declaration; they run from now on. */
  begin(): PlannedStep[] {
    const begun: PlannedStep[] = [];
    for (const step of this.#waiting.values()) {
      if (this.#running.size >= this.#limit) break;
      if (!step.needs.every((needed) => this.#passed.has(needed))) continue;
      this.#waiting.delete(step.name);
      this.#running.add(step.name);
      begun.push(step);
    }
    return begun;
  }

  end(name: string, how: 'passed' | 'not passed'): void {
    this.#running.delete(name);
    if (how === 'passed') this.#passed.add(name);
  }

  /** Takes those that wait for a step which has not passed, directly or not. They never run. */
  skipDependents(name: string): PlannedStep[] {
    const without = new Set([name]);
    // In rounds, because a step may be declared before what it needs.
    for (let before = 0; before < without.size; ) {
      before = without.size;
      for (const step of this.#waiting.values()) {
        if (step.needs.some((needed) => without.has(needed))) without.add(step.name);
      }
    }
    return this.#skip((step) => without.has(step.name));
  }

  /** Takes all that wait. They never run. */
  skipAll(): PlannedStep[] {
    return this.#skip(() => true);
  }

  #skip(which: (step: PlannedStep) => boolean): PlannedStep[] {
    const skipped = [...this.#waiting.values()].filter(which);
    for (const { name } of skipped) this.#waiting.delete(name);
    return skipped;
  }
}
