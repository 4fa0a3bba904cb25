import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isAlcoveError } from '../../src/errors.ts';
import type { CacheLimits } from '../../src/executor/registry/entry.ts';
import { Registry } from '../../src/executor/registry/index.ts';
import { Database } from '../../src/store/index.ts';
import type { SnapshotRef } from '../../src/vm/index.ts';
import { RegistryFixture } from './registry-fixture.ts';
import { RegistryModel } from './registry-model.ts';

const mostHistory = 4;
const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g'] as const;
const key = fc.constantFrom(...keys);
const snapshot = fc.integer({ min: 0, max: 8 }).map((number): SnapshotRef => `vm/s${number}`);
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const age = fc.integer({ min: 0, max: 40 });

const put = {
  key,
  snapshot,
  parent: maybe(snapshot),
  sizeBytes: fc.integer({ min: 0, max: 60 }),
};

const step = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('put' as const), ...put }) },
  // The transaction fails when it asks this time whether something is pinned.
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('failing put' as const),
      ...put,
      failsAt: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('get' as const), key, maxAgeMs: maybe(age) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('invalidate' as const), key, snapshot: maybe(snapshot) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('lease' as const), snapshot }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('unlease' as const), index: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('pin or unpin' as const), snapshot }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('evict' as const),
      unusedForMs: maybe(fc.integer({ min: 0, max: 10 })),
      dryRun: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('record failure' as const), key }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('clock' as const), by: fc.integer({ min: -30, max: 60 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const limits: fc.Arbitrary<CacheLimits> = fc.record({
  maxEntries: fc.integer({ min: 1, max: 6 }),
  maxBytes: fc.oneof(fc.integer({ min: 0, max: 250 }), fc.constant(Number.POSITIVE_INFINITY)),
  reservedBytes: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 120 })),
});

/** A registry beside the model of it. */
class Pair {
  nowMs = 1_000_000;
  readonly model: RegistryModel;
  registry: Registry;
  readonly #open: (isPinned: (snapshot: SnapshotRef) => boolean) => Registry;
  #leases: Disposable[] = [];
  #failsAt = 0;

  /** @param open as an engine does after the one before it is gone */
  constructor(limits: CacheLimits, open: (isPinned: (snapshot: SnapshotRef) => boolean) => Registry) {
    this.model = new RegistryModel(limits, mostHistory);
    this.#open = open;
    this.registry = this.#opened();
  }

  #opened(): Registry {
    return this.#open((snapshot) => {
      if (--this.#failsAt === 0) throw new Error('planned');
      return this.model.pinned.has(snapshot);
    });
  }

  play(next: Step): void {
    const { registry, model, nowMs } = this;
    switch (next.kind) {
      case 'put':
        expect(this.#put(next)).toEqual(model.put(entryOf(next), nowMs));
        return;
      case 'failing put': {
        const whole = model.copy().put(entryOf(next), nowMs);
        this.#failsAt = next.failsAt;
        const outcome = this.#put(next);
        this.#failsAt = 0;
        // What is asked for is the registry's own affair: it may have come to its end without.
        if (outcome === 'failed') return;
        expect(outcome).toEqual(whole);
        model.put(entryOf(next), nowMs);
        return;
      }
      case 'get': {
        const found = registry.get(next.key, {
          nowMs,
          ...(next.maxAgeMs !== undefined && { maxAgeMs: next.maxAgeMs }),
        });
        const expected = model.get(next.key, nowMs, next.maxAgeMs);
        expect(found).toEqual(
          expected === undefined ? undefined : { entry: model.find(next.key), expired: !expected },
        );
        return;
      }
      case 'invalidate': {
        const of = next.snapshot === undefined ? {} : { snapshot: next.snapshot };
        const gone = registry.invalidate(next.key, { reason: 'removed', nowMs, ...of });
        expect(gone).toBe(model.invalidate(next.key, nowMs, next.snapshot));
        return;
      }
      case 'lease':
        this.#leases.push(registry.lease(next.snapshot));
        model.leased.push(next.snapshot);
        return;
      case 'unlease':
        this.#leases.splice(next.index, 1)[0]?.[Symbol.dispose]();
        model.leased.splice(next.index, 1);
        return;
      case 'pin or unpin':
        if (!model.pinned.delete(next.snapshot)) model.pinned.add(next.snapshot);
        return;
      case 'evict': {
        const { unusedForMs, dryRun } = next;
        const evicted = registry.evict({
          nowMs,
          ...(unusedForMs !== undefined && { unusedForMs }),
          ...(dryRun && { dryRun }),
        });
        expect(evicted).toEqual((dryRun ? model.copy() : model).evict(nowMs, unusedForMs));
        return;
      }
      case 'record failure':
        registry.recordFailure(next.key, { nowMs, detail: 'exit code 1' });
        model.record(next.key, { reason: 'failed', atMs: nowMs });
        return;
      case 'clock':
        this.nowMs += next.by;
        return;
      case 'crash':
        this.registry = this.#opened();
        this.#leases = [];
        model.leased.length = 0;
        return;
    }
  }

  #put(next: Parameters<typeof entryOf>[0]): SnapshotRef[] | 'refused' | 'failed' {
    try {
      return this.registry.put(entryOf(next), { nowMs: this.nowMs });
    } catch (error) {
      if (isAlcoveError(error, 'InvalidInput')) return 'refused';
      if (error instanceof Error && error.message === 'planned') return 'failed';
      throw error;
    }
  }

  /** What the registry tells is what the model says. */
  compare(): void {
    const { registry, model } = this;
    const history = keys.flatMap((each) => {
      const { reason, atMs } = registry.history(each) ?? {};
      return reason === undefined ? [] : [[each, { reason, atMs }]];
    });
    const view = { list: registry.list(), history, totals: registry.totals() };
    // Nearly always they are the same, and that is told much faster than why they are not.
    if (!isDeepStrictEqual(view, model.view())) expect(view).toEqual(model.view());
  }

  /** The same by other ways to look. */
  compareDetails(): void {
    const { registry, model } = this;
    for (const entry of model.entries) {
      expect(registry.bySnapshot(entry.snapshot)).toEqual(entry);
      expect(registry.output(entry.key)).toEqual(new TextEncoder().encode(entry.snapshot));
    }
    expect([...registry.snapshots()].map(({ snapshot }) => snapshot).sort()).toEqual(
      model.entries.map((entry) => entry.snapshot).sort(),
    );
  }
}

function entryOf(of: {
  key: string;
  snapshot: SnapshotRef;
  parent: SnapshotRef | undefined;
  sizeBytes: number;
}) {
  const { key, snapshot, parent, sizeBytes } = of;
  const output = new TextEncoder().encode(snapshot);
  return { key, snapshot, sizeBytes, durationMs: 1, output, ...(parent !== undefined && { parent }) };
}

function playAll(pair: Pair, steps: readonly Step[]): void {
  for (const each of steps) {
    pair.play(each);
    pair.compare();
  }
  pair.compareDetails();
}

const steps = fc.array(step, { minLength: 1, maxLength: 40, size: 'max' });

test('whatever is put, used, pinned, evicted, failed or crashed, in any order: the registry is the model’s', () => {
  fc.assert(
    fc.property(limits, steps, (limits, steps) => {
      using database = new Database(':memory:');
      const open = (isPinned: (snapshot: SnapshotRef) => boolean) =>
        new Registry(database, { limits, isPinned, maxHistory: mostHistory });
      playAll(new Pair(limits, open), steps);
    }),
    { numRuns: 2000 },
  );
});

test('the same holds for a file that is closed and opened again', () => {
  fc.assert(
    fc.property(limits, steps, (limits, steps) => {
      using fixture = new RegistryFixture();
      const open = (isPinned: (snapshot: SnapshotRef) => boolean) => {
        fixture.reopen();
        return new Registry(fixture.database, { limits, isPinned, maxHistory: mostHistory });
      };
      playAll(new Pair(limits, open), steps);
    }),
    { numRuns: 40 },
  );
});
