import { readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isAlcoveError } from '../../src/errors.ts';
import type { SnapshotRef } from '../../src/vm/index.ts';
import { LifecycleModel, type ModelCall, type ModelFault, type Outcome } from './lifecycle-model.ts';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

const vmIds = ['a', 'b', 'c'] as const;
const vm = fc.constantFrom(...vmIds);
const snapshotId = fc.constantFrom('s', 't');
const ref = fc.tuple(vm, snapshotId).map(([vmId, id]): SnapshotRef => `${vmId}/${id}`);

const call: fc.Arbitrary<ModelCall> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('create' as const), vm }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('start' as const), vm }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom('stop' as const, 'pause' as const, 'resume' as const), vm }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('snapshot' as const), vm, id: snapshotId }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('destroy' as const), vm }) },
);

const fault: fc.Arbitrary<ModelFault> = fc.record({
  vm,
  kind: fc.constantFrom('create', 'start', 'stop', 'pause', 'resume', 'snapshot', 'destroy'),
  place: fc.constantFrom('begin', 'middle', 'end'),
});

/** Calls that are made at once; other steps stand alone, because what they meet would depend on who is faster. */
type Step =
  | { kind: 'calls'; calls: ModelCall[]; faults: ModelFault[]; crashAfter: number | undefined }
  | { kind: 'restore'; ref: SnapshotRef; vm: string }
  | { kind: 'remove'; ref: SnapshotRef }
  | { kind: 'die'; vm: string }
  | { kind: 'write'; vm: string; text: string }
  | { kind: 'reopen' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('calls' as const),
      calls: fc.array(call, { minLength: 1, maxLength: 5 }),
      faults: fc.array(fault, { maxLength: 2 }),
      crashAfter: fc.option(fc.integer({ min: 0, max: 8 }), { nil: undefined, freq: 3 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('restore' as const), ref, vm }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), ref }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('die' as const), vm }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('write' as const), vm, text: fc.constantFrom('x', 'y') }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
);

/** Stops one engine after so many more steps of its journal, for good. */
class Freezer {
  #left = Number.POSITIVE_INFINITY;
  #frozen = () => {};

  /** Resolves when it has stopped. */
  after(steps: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#left = steps;
    this.#frozen = resolve;
    return promise;
  }

  readonly failpoint = (): Promise<void> | undefined => {
    if (this.#left-- > 0) return undefined;
    this.#frozen();
    return new Promise(() => undefined);
  };
}

/** The engine under test. */
class Subject implements AsyncDisposable {
  readonly fixture: RuntimeFixture;
  #freezer: Freezer;

  private constructor(fixture: RuntimeFixture, freezer: Freezer) {
    this.fixture = fixture;
    this.#freezer = freezer;
  }

  static async open(): Promise<Subject> {
    const freezer = new Freezer();
    const fixture = await openFixture({ databasePath: ':memory:', failpoint: freezer.failpoint });
    return new Subject(fixture, freezer);
  }

  /** Resolves when the engine has come to a stop after so many steps more. */
  freezeAfter(steps: number): Promise<void> {
    return this.#freezer.after(steps);
  }

  /** The frozen engine stays frozen; another takes its place. */
  async crash(): Promise<void> {
    this.fixture.backend = await this.fixture.backend.restarted();
    // What the old engine has under way with files ends first; a killed process writes nothing later.
    for (let turn = 0; turn < 40; turn++) await stat(this.fixture.root);
    this.#freezer = new Freezer();
    await this.fixture.crash({ failpoint: this.#freezer.failpoint });
  }

  async reopen(): Promise<readonly string[]> {
    return (await this.fixture.reopen({ failpoint: this.#freezer.failpoint })).mended;
  }

  async make(call: ModelCall): Promise<Outcome> {
    const { runtime } = this.fixture;
    switch (call.kind) {
      case 'create':
        return outcomeOf(runtime.create({ id: call.vm, image: 'builtin' }));
      case 'snapshot':
        return outcomeOf(runtime.snapshot(call.vm, { id: call.id }));
      default:
        return outcomeOf(runtime[call.kind](call.vm));
    }
  }

  async view(): Promise<unknown> {
    const { runtime } = this.fixture;
    return {
      vms: (await runtime.list()).map(({ id, status }) => ({ id, status })),
      snapshots: (await runtime.snapshots.list()).map(({ ref }) => ref).sort(),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fixture[Symbol.asyncDispose]();
  }
}

async function outcomeOf(call: Promise<unknown>): Promise<Outcome> {
  try {
    await call;
    return 'ok';
  } catch (error) {
    if (isAlcoveError(error)) return error.code;
    if (error instanceof Error && error.message === 'planned') return 'fault';
    throw error;
  }
}

/** Machines, directories, journal and room agree with what is listed. */
async function expectNothingLeaks({ fixture }: Subject): Promise<void> {
  const { runtime, backend, root, database } = fixture;
  const vms = await runtime.list({ destroyed: 'leave-out' });
  const active = vms.filter(({ status }) => status === 'running' || status === 'paused');
  expect(backend.running).toEqual(active.map(({ id }) => id));
  expect(readdirSync(join(root, 'vms')).sort()).toEqual(vms.map(({ id }) => id));
  expect(readdirSync(join(root, 'snapshots'))).toHaveLength((await runtime.snapshots.list()).length);
  expect(database.prepare('SELECT * FROM vm_journal').all()).toEqual([]);
  expect(runtime.capacity.taken).toEqual({
    vms: vms.length,
    memoryMiB: active.length * 256,
    diskMiB: vms.length * 2048,
  });
}

/** What a command reads in every running VM is what the model has. */
async function expectTexts({ fixture }: Subject, model: LifecycleModel): Promise<void> {
  for (const [id, { status, text }] of model.vms) {
    if (status !== 'running') continue;
    const { stdout } = await fixture.runtime.exec(id, { command: 'cat /root/text' });
    expect({ id, text: stdout }).toEqual({ id, text });
  }
}

/** Plays calls at once. With a crash, the calls that returned have happened, and the first of each VM that did not may have. */
async function playCalls(
  subject: Subject,
  model: LifecycleModel,
  { calls, faults, crashAfter }: Extract<Step, { kind: 'calls' }>,
): Promise<LifecycleModel> {
  const { backend } = subject.fixture;
  for (const { vm, kind, place } of faults) backend.fail(`${kind}.${place}`, new Error('planned'), { vm });
  const frozen =
    crashAfter === undefined ? new Promise<void>(() => undefined) : subject.freezeAfter(crashAfter);
  const outcomes: (Outcome | undefined)[] = calls.map(() => undefined);
  const made = calls.map(async (each, index) => {
    outcomes[index] = await subject.make(each);
  });
  const crashed = await Promise.race([frozen.then(() => true), Promise.all(made).then(() => false)]);
  backend.clearFaults();
  if (crashed) await subject.crash();
  else subject.freezeAfter(Number.POSITIVE_INFINITY);

  const after = model.copy();
  const left = [...faults];
  const uncertain = new Map<string, ModelCall>();
  for (const [index, each] of calls.entries()) {
    const outcome = outcomes[index];
    if (uncertain.has(each.vm)) expect(outcome).toBeUndefined();
    else if (outcome === undefined) uncertain.set(each.vm, each);
    else expect({ call: each, outcome }).toEqual({ call: each, outcome: after.play(each, left) });
  }
  const candidates = [after];
  for (const each of uncertain.values()) {
    for (const candidate of [...candidates]) {
      const done = candidate.copy();
      done.play(each, [...left]);
      const undisturbed = candidate.copy();
      undisturbed.play(each, []);
      candidates.push(done, undisturbed);
    }
  }
  const seen = await subject.view();
  const fitting = candidates.find((candidate) => subjectEquals(candidate.view(), seen));
  expect(fitting?.view() ?? candidates.map((candidate) => candidate.view())).toEqual(seen);
  return fitting ?? after;
}

function subjectEquals(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

async function playStep(subject: Subject, model: LifecycleModel, next: Step): Promise<LifecycleModel> {
  const { runtime, backend } = subject.fixture;
  switch (next.kind) {
    case 'calls':
      return playCalls(subject, model, next);
    case 'restore':
      expect(await outcomeOf(runtime.restore(next.ref, { id: next.vm }))).toBe(
        model.restore(next.ref, next.vm),
      );
      return model;
    case 'remove':
      expect(await outcomeOf(runtime.snapshots.remove(next.ref))).toBe(model.removeSnapshot(next.ref));
      return model;
    case 'write':
      expect(await outcomeOf(runtime.exec(next.vm, { command: `write /root/text ${next.text}` }))).toBe(
        model.write(next.vm, next.text),
      );
      return model;
    case 'die':
      if (backend.running.includes(next.vm)) backend.dieByItself(next.vm, 'killed');
      model.die(next.vm);
      return model;
    case 'reopen':
      expect(await subject.reopen()).toEqual([]);
      return model;
  }
}

test('whatever is called, fails, dies or crashes, in any order: the lifecycle is the model’s', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      await using subject = await Subject.open();
      let model = new LifecycleModel();
      for (const each of steps) {
        model = await playStep(subject, model, each);
        expect(await subject.view()).toEqual(model.view());
        await expectNothingLeaks(subject);
      }
      await expectTexts(subject, model);
    }),
    { numRuns: 600 },
  );
});
