import { readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/backends/memory/index.ts';
import { isAlcoveError } from '../../src/errors.ts';
import type { Clock } from '../../src/host/index.ts';
import type { SnapshotInfo, WarmOptions, WarmSpec } from '../../src/vm/index.ts';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

const limitMiB = 2048;
const warm: Partial<WarmOptions> = {
  pool: 'on',
  perImage: 2,
  max: 4,
  memoryMiB: 900,
  idleMs: 20_000,
  atClose: 'keep',
};
const plenty = { memoryMiB: 10_000, diskMiB: 10_000 };

const vmIds = ['a', 'b', 'c', 'd', 'e', 'f'] as const;
const vm = fc.constantFrom(...vmIds);
const image = fc.constantFrom('builtin', 'builtin', 'builtin', 'other');
const memoryMiB = fc.constantFrom(256, 256, 256, 128, 512);

type Step =
  | { kind: 'begin'; vms: readonly string[]; image: string; memoryMiB: number }
  | { kind: 'restart' | 'stop' | 'destroy' | 'fork' | 'snapshot'; vm: string }
  | { kind: 'restore' | 'remove'; which: number }
  | { kind: 'fill'; spec: WarmSpec }
  | { kind: 'drop'; which: number }
  | { kind: 'die'; which: number }
  | { kind: 'pass'; ms: number }
  | { kind: 'host'; room: typeof plenty }
  | {
      kind: 'fault';
      point: 'make-spare.middle' | 'make-spare.end' | 'take-spare.begin' | 'take-spare.middle';
    }
  | { kind: 'crash'; afterSteps: number; during: Step }
  | { kind: 'power loss' | 'reopen' };

const callStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('begin' as const),
      vms: fc.uniqueArray(vm, { minLength: 1, maxLength: 3 }),
      image,
      memoryMiB,
    }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom('restart', 'stop'), vm }) },
  {
    weight: 10,
    arbitrary: fc.record({ kind: fc.constantFrom('destroy', 'destroy', 'fork', 'snapshot'), vm }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('restore', 'restore', 'restore', 'remove'),
      which: fc.nat(1),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('fill' as const),
      spec: fc.record(
        { image, memoryMiB, count: fc.integer({ min: 1, max: 3 }) },
        { requiredKeys: ['memoryMiB'] },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), which: fc.nat(3) }) },
  {
    weight: 14,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.constantFrom(250, 250, 1000, 6000, 25_000),
    }),
  },
);

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 40, arbitrary: callStep },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('die' as const), which: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('host' as const),
      room: fc.constantFrom(plenty, plenty, { ...plenty, memoryMiB: 400 }, { ...plenty, diskMiB: 10 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('fault' as const),
      point: fc.constantFrom('make-spare.middle', 'make-spare.end', 'take-spare.begin', 'take-spare.middle'),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('crash' as const),
      afterSteps: fc.nat(12),
      during: callStep,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('power loss', 'reopen') }) },
);

/** One engine's life: when it is over, neither its clock nor its work goes on. */
class Life {
  #left = Number.POSITIVE_INFINITY;
  #over = false;
  #ended: () => void = () => undefined;

  clock(clock: Clock): Clock {
    const ifAlive = (callback: () => void) => () => {
      if (!this.#over) callback();
    };
    return {
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      sleep: (ms, signal) => clock.sleep(ms, signal),
      timer: (ms, callback) => clock.timer(ms, ifAlive(callback)),
    };
  }

  /** Resolves when the engine has come to its end after so many steps more. */
  endAfter(steps: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#left = steps;
    this.#ended = resolve;
    return promise;
  }

  end(): void {
    this.#over = true;
  }

  readonly failpoint = (): Promise<void> | undefined => {
    if (!this.#over && this.#left-- > 0) return undefined;
    this.#over = true;
    this.#ended();
    return new Promise(() => undefined);
  };
}

interface ModelVm {
  id: string;
  memoryMiB: number;
  on: boolean;
}

/** The runtime under test, and what must be so of its VMs. Each slot has at most one VM that is not destroyed. */
class Subject implements AsyncDisposable {
  readonly #slots = new Map<string, ModelVm>();
  /** Seen while calls were under way. */
  readonly #wrongs = new Set<string>();
  readonly #clock: ManualClock;
  readonly #fixture: RuntimeFixture;
  #life: Life;
  /** What the host has left. */
  room = plenty;
  #named = 0;

  private constructor(clock: ManualClock, fixture: RuntimeFixture, life: Life) {
    this.#clock = clock;
    this.#fixture = fixture;
    this.#life = life;
  }

  static async open(): Promise<Subject> {
    const clock = new ManualClock();
    const life = new Life();
    let subject: Subject | undefined;
    const fixture = await openFixture({
      databasePath: ':memory:',
      backendOptions: { clock },
      clock: life.clock(clock),
      limits: { memoryMiB: limitMiB, vms: 1000 },
      warm,
      hostRoom: () => subject?.room ?? plenty,
      failpoint: () => subject?.passed(),
    });
    subject = new Subject(clock, fixture, life);
    return subject;
  }

  /** At every step of the engine. */
  passed(): Promise<void> | undefined {
    const { runtime } = this.#fixture;
    void runtime.warm.list().then((spares) => {
      const spareMiB = spares.reduce((sum, { memoryMiB }) => sum + memoryMiB, 0);
      if (spares.length > (warm.max ?? 0)) this.#wrongs.add('more than may wait');
      if (spareMiB > (warm.memoryMiB ?? 0)) this.#wrongs.add('more memory than may wait');
      if (runtime.capacity.taken.memoryMiB > limitMiB) this.#wrongs.add('more memory than there is');
    });
    return this.#life.failpoint();
  }

  async play(step: Step): Promise<void> {
    const { runtime, backend } = this.#fixture;
    switch (step.kind) {
      case 'begin':
        return this.#begin(step.vms, step);
      case 'restart': {
        const found = this.#slots.get(step.vm);
        return found && !found.on ? this.#start([found]) : undefined;
      }
      case 'stop': {
        const found = this.#slots.get(step.vm);
        if (!found?.on) return;
        await runtime.stop(found.id);
        found.on = false;
        return;
      }
      case 'destroy': {
        const found = this.#slots.get(step.vm);
        if (!found) return;
        await runtime.destroy(found.id);
        this.#slots.delete(step.vm);
        return;
      }
      case 'fork':
        return this.#fork(step.vm);
      case 'snapshot': {
        const found = this.#slots.get(step.vm);
        if (found) await runtime.snapshot(found.id);
        return;
      }
      case 'restore':
        return this.#restore((await runtime.snapshots.list()).at(-1 - step.which));
      case 'remove': {
        const snapshot = (await runtime.snapshots.list()).at(-1 - step.which);
        if (!snapshot) return;
        expect(['ok', 'SnapshotInUse']).toContain(await outcomeOf(runtime.snapshots.remove(snapshot.ref)));
        return;
      }
      case 'fill': {
        const outcome = await outcomeOf(runtime.warm.fill(step.spec));
        expect(['ok', 'AtCapacity', 'planned']).toContain(outcome);
        return;
      }
      case 'drop': {
        const spare = (await runtime.warm.list())[step.which];
        if (spare) await runtime.warm.drop([spare.id]);
        return;
      }
      case 'die': {
        const id = backend.waiting[step.which];
        if (id !== undefined) backend.spareDies(id, 'killed');
        return;
      }
      case 'pass':
        await this.#clock.advance(step.ms);
        return this.#settle();
      case 'host':
        this.room = step.room;
        return;
      case 'fault':
        backend.fail(step.point, new Error('planned'));
        return;
      case 'crash':
        return this.#crashDuring(step.during, step.afterSteps);
      case 'power loss':
        backend.losePower();
        return this.#crash();
      case 'reopen':
        await runtime.close();
        return this.#crash();
    }
  }

  /** What must hold whenever nothing is under way. */
  async check(): Promise<void> {
    await this.#settle();
    const { runtime, backend, root, database, warnings } = this.#fixture;
    const spares = await runtime.warm.list();
    const ids = spares.map(({ id }) => id).sort();
    const rows = database.prepare('SELECT id FROM spares ORDER BY id').all();
    expect(backend.waiting, 'none is leaked').toEqual(ids);
    expect(readdirSync(join(root, 'spares')).sort()).toEqual(ids);
    expect(rows.map(({ id }) => id)).toEqual(ids);
    const spareMiB = spares.reduce((sum, { memoryMiB }) => sum + memoryMiB, 0);
    expect(spares.length).toBeLessThanOrEqual(warm.max ?? 0);
    expect(spareMiB).toBeLessThanOrEqual(warm.memoryMiB ?? 0);
    expect(this.#onMiB + spareMiB).toBeLessThanOrEqual(limitMiB);
    expect(runtime.capacity.taken.memoryMiB).toBe(this.#onMiB);
    const on = [...this.#slots.values()].filter((found) => found.on).map(({ id }) => id);
    expect(backend.running).toEqual(on.sort());
    const given = backend.log.filter(({ call }) => call === 'take-spare').map(({ about }) => about);
    expect(new Set(given).size, 'none is given twice').toBe(given.length);
    expect([...this.#wrongs]).toEqual([]);
    expect(warnings.filter((warning) => !expectedWarning.test(warning))).toEqual([]);
    const { waiting, made, found, claims, givenUp } = await runtime.warm.stats();
    const total = (counts: Record<string, number>) => Object.values(counts).reduce((sum, n) => sum + n, 0);
    expect(made + found, 'all are accounted for').toBe(waiting + total(claims) + total(givenUp));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fixture[Symbol.asyncDispose]();
  }

  /** Memory of the VMs that are on. */
  get #onMiB(): number {
    return [...this.#slots.values()].reduce((sum, { on, memoryMiB }) => sum + (on ? memoryMiB : 0), 0);
  }

  async #begin(slots: readonly string[], spec: { image: string; memoryMiB: number }): Promise<void> {
    const { image, memoryMiB } = spec;
    const free = slots.filter((slot) => !this.#slots.has(slot));
    for (const slot of free) {
      const id = this.#newName(slot);
      await this.#fixture.runtime.create({ id, image, memoryMiB });
      this.#slots.set(slot, { id, memoryMiB, on: false });
    }
    await this.#start(free.flatMap((slot) => this.#slots.get(slot) ?? []));
  }

  /** Starts VMs of one size at once: as many come up as have room beside the other VMs, whatever machines wait. */
  async #start(vms: readonly ModelVm[]): Promise<void> {
    const { runtime } = this.#fixture;
    const outcomes = await Promise.all(vms.map(({ id }) => outcomeOf(runtime.start(id))));
    for (const [index, found] of vms.entries()) found.on = outcomes[index] === 'ok';
    for (const [index, { memoryMiB }] of vms.entries()) {
      if (outcomes[index] === 'ok') continue;
      expect(outcomes[index]).toBe('AtCapacity');
      expect(this.#onMiB + memoryMiB, 'refused because of VMs').toBeGreaterThan(limitMiB);
    }
    for (const { id } of vms.filter(({ on }) => on))
      expect((await runtime.exec(id, { command: 'hostname' })).stdout).toBe(`${id}\n`);
  }

  /** A running VM's copy goes into a free slot, on from where the VM is. */
  async #fork(slot: string): Promise<void> {
    const source = this.#slots.get(slot);
    const free = vmIds.find((candidate) => !this.#slots.has(candidate));
    if (!source?.on || free === undefined) return;
    const id = this.#newName(free);
    const [result] = await this.#fixture.runtime.fork(source.id, 1, { ids: [id], start: 'yes' });
    if (result && 'vm' in result) this.#slots.set(free, { id, memoryMiB: source.memoryMiB, on: true });
    else expect(this.#onMiB + source.memoryMiB).toBeGreaterThan(limitMiB);
  }

  async #restore(snapshot: SnapshotInfo | undefined): Promise<void> {
    const free = vmIds.find((candidate) => !this.#slots.has(candidate));
    if (!snapshot || free === undefined) return;
    const id = this.#newName(free);
    const { memoryMiB } = await this.#fixture.runtime.restore(snapshot.ref, { id });
    const found = { id, memoryMiB, on: false };
    this.#slots.set(free, found);
    await this.#start([found]);
  }

  #newName(slot: string): string {
    return `${slot}-${this.#named++}`;
  }

  async #settle(): Promise<void> {
    const { runtime, backend } = this.#fixture;
    await runtime.warm.settled();
    for (let before = -1; before !== backend.log.length; ) {
      before = backend.log.length;
      await this.#clock.advance(0);
      await runtime.warm.settled();
    }
  }

  async #crashDuring(step: Step, afterSteps: number): Promise<void> {
    const ended = this.#life.endAfter(afterSteps);
    await Promise.race([ended, this.play(step)]);
    await this.#crash();
  }

  /** Another engine takes over; what the model knows of the VMs is what that one finds. */
  async #crash(): Promise<void> {
    this.#life.end();
    this.#fixture.backend = await this.#fixture.backend.restarted();
    // What the old engine has under way with files ends first; a killed process writes nothing later.
    for (let turn = 0; turn < 40; turn++) await stat(this.#fixture.root);
    this.#life = new Life();
    await this.#fixture.crash({ clock: this.#life.clock(this.#clock) });
    const before = new Map([...this.#slots.values()].map((found) => [found.id, found]));
    this.#slots.clear();
    for (const { id, status, memoryMiB } of await this.#fixture.runtime.list({ destroyed: 'leave-out' })) {
      const known = before.get(id);
      if (known) expect(memoryMiB).toBe(known.memoryMiB);
      this.#slots.set(id.slice(0, 1), { id, memoryMiB, on: status === 'running' });
    }
  }
}

const expectedWarning =
  /^VM \S+ is started without the warm machine|^the warm machine \S+ ended by itself|^a warm machine could not be made: planned$/;

async function outcomeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'ok';
  } catch (error) {
    if (isAlcoveError(error)) return error.code;
    return (error as Error).message;
  }
}

test('whatever is started, filled, dropped, dies, runs short or crashes, in any order: the bounds hold, nothing leaks, and no user notices', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }), async (steps) => {
      await using subject = await Subject.open();
      for (const one of steps) {
        await subject.play(one);
        await subject.check();
      }
    }),
    { numRuns: 100 },
  );
});
