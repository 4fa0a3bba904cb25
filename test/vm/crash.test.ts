import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type FailpointName, failpoints, type VmRuntime } from '../../src/vm/index.ts';
import { chunksOf, everythingOf, exported, openElsewhere, openOrigin } from './portable-fixture.ts';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

/** A call that passes every step of its kind, on a VM that is brought into place first. */
interface Scenario {
  /** @default {@link openFixture} */
  open?: typeof openFixture;
  prepare?(runtime: VmRuntime, fixture: RuntimeFixture): Promise<unknown>;
  call(runtime: VmRuntime): Promise<unknown>;
}

const started = async (runtime: VmRuntime) => {
  await runtime.create({ id: 'vm', image: 'builtin' });
  await runtime.start('vm');
  await runtime.exec('vm', { command: 'write /root/note kept' });
  await runtime.exec('vm', { command: 'sync' });
};

const scenarios: Readonly<Record<string, Scenario>> = {
  create: { call: (runtime) => runtime.create({ id: 'vm', image: 'builtin' }) },
  start: {
    prepare: (runtime) => runtime.create({ id: 'vm', image: 'builtin' }),
    call: (runtime) => runtime.start('vm'),
  },
  stop: { prepare: started, call: (runtime) => runtime.stop('vm') },
  pause: { prepare: started, call: (runtime) => runtime.pause('vm') },
  resume: {
    prepare: async (runtime) => {
      await started(runtime);
      await runtime.pause('vm');
    },
    call: (runtime) => runtime.resume('vm'),
  },
  snapshot: { prepare: started, call: (runtime) => runtime.snapshot('vm', { id: 's' }) },
  destroy: { prepare: started, call: (runtime) => runtime.destroy('vm') },
  'remove-snapshot': {
    prepare: async (runtime) => {
      await started(runtime);
      await runtime.snapshot('vm', { id: 's' });
    },
    call: (runtime) => runtime.snapshots.remove('vm/s'),
  },
  spare: {
    prepare: (runtime) => runtime.create({ id: 'vm', image: 'builtin' }),
    call: async (runtime) => {
      await runtime.warm.fill({ image: 'builtin', count: 2 });
      await runtime.start('vm');
      await runtime.warm.drop();
    },
  },
  gc: {
    prepare: async (runtime, { root }) => {
      await started(runtime);
      await runtime.snapshot('vm', { id: 's' });
      mkdirSync(join(root, 'vms', 'stray'));
    },
    call: (runtime) => runtime.collectGarbage(),
  },
  import: {
    open: openElsewhere,
    call: (runtime) => runtime.snapshots.import(chunksOf(archive)),
  },
};

/** A snapshot from elsewhere. */
let archive: Uint8Array;
beforeAll(async () => {
  await using origin = await openOrigin();
  archive = await exported(origin.runtime, 'vm/s1');
});

/** Brings a VM into place, calls, and lets the engine die at a step of the call. */
async function dieAt(step: FailpointName): Promise<RuntimeFixture> {
  let armed = false;
  const reached = Promise.withResolvers<void>();
  const scenario = scenarios[step.slice(0, step.indexOf('.'))];
  if (!scenario) throw new Error(`nothing passes ${step}`);
  const fixture = await (scenario.open ?? openFixture)({
    failpoint: (name) => {
      if (!armed || name !== step) return undefined;
      reached.resolve();
      return new Promise(() => undefined);
    },
  });
  await scenario.prepare?.(fixture.runtime, fixture);
  armed = true;
  const call = scenario.call(fixture.runtime);
  await Promise.race([reached.promise, call.then(() => expect.unreachable(`${step} was not passed`))]);
  armed = false;
  return fixture;
}

/** What must hold after every crash, whatever it cut short. */
async function expectPromises(fixture: RuntimeFixture): Promise<void> {
  const { runtime, backend, root } = fixture;
  const vms = await runtime.list();
  const snapshots = await runtime.snapshots.list();
  const present = vms.filter(({ status }) => status !== 'destroyed');
  const active = vms.filter(({ status }) => status === 'running' || status === 'paused');
  // Nothing leaks, nothing running is lost: machines, directories, journal and room agree with what is listed.
  expect(backend.running).toEqual(active.map(({ id }) => id));
  expect(readdirSync(join(root, 'vms')).sort()).toEqual(present.map(({ id }) => id));
  expect(readdirSync(join(root, 'snapshots'))).toHaveLength(snapshots.length);
  const waiting = (await runtime.warm.list()).map(({ id }) => id).sort();
  expect(backend.waiting).toEqual(waiting);
  expect(readdirSync(join(root, 'spares')).sort()).toEqual(waiting);
  const spareRows = fixture.database.prepare('SELECT id FROM spares ORDER BY id').all();
  expect(spareRows.map(({ id }) => id)).toEqual(waiting);
  expect(fixture.database.prepare('SELECT * FROM vm_journal').all()).toEqual([]);
  expect(runtime.capacity.taken).toEqual({
    vms: present.length,
    memoryMiB: active.length * 256,
    diskMiB: present.length * 2048,
  });
  for (const { ref } of snapshots) {
    const copy = await runtime.restore(ref);
    await runtime.destroy(copy.id);
  }
  // The next opening finds nothing left to mend.
  expect((await fixture.reopen()).mended).toEqual([]);
  expect(fixture.warnings).toEqual([]);
}

describe('an engine that is killed', () => {
  test.for(failpoints)('at %s keeps every promise', async (step) => {
    await using fixture = await dieAt(step);
    await fixture.crash();
    await expectPromises(fixture);
  });

  test.for(failpoints)('at %s, and whose machines lose power with it, keeps every promise', async (step) => {
    await using fixture = await dieAt(step);
    fixture.backend.losePower();
    await fixture.crash();
    expect(fixture.backend.running).toEqual([]);
    await expectPromises(fixture);
  });

  test.for(failpoints)('at %s does not lose what it had reported', async (step) => {
    await using fixture = await dieAt(step);
    const before = fixture.runtime;
    const reported = { vms: await before.list(), snapshots: await before.snapshots.list() };
    await fixture.crash();
    const call = step.slice(0, step.indexOf('.'));
    for (const vm of reported.vms) {
      const found = await fixture.runtime.get(vm.id);
      if (call === 'destroy') expect(found?.status).toBe('destroyed');
      else if (step.endsWith('.committed')) expect(found).toEqual(vm);
      else expect(found).toMatchObject({ id: vm.id, createdAtMs: vm.createdAtMs });
    }
    expect(await fixture.runtime.snapshots.list()).toEqual(reported.snapshots);
  });

  test.for(failpoints.filter((step) => step.startsWith('import.')))(
    'at %s leaves all or nothing of what was imported',
    async (step) => {
      await using empty = await openElsewhere();
      await using fixture = await dieAt(step);
      const { mended } = await fixture.crash();
      expect(mended.length).toBe(step === 'import.journalled' || step === 'import.placed' ? 1 : 0);
      rmSync(join(fixture.root, 'tmp'), { recursive: true }); // Emptied by whoever takes the state directory.
      if (step !== 'import.committed') return expect(everythingOf(fixture)).toEqual(everythingOf(empty));
      const copy = await fixture.runtime.restore('vm/s1');
      await fixture.runtime.start(copy.id);
      expect((await fixture.runtime.exec(copy.id, { command: 'cat /root/note' })).stdout).toBe('s1');
      expect(await fixture.realImages.mend()).toEqual([]);
    },
  );

  test('in the middle of a snapshot lets the VM go on', async () => {
    await using fixture = await openFixture();
    await started(fixture.runtime);
    const hung = fixture.backend.hang('snapshot.middle');
    void fixture.runtime.snapshot('vm', { id: 's' });
    await hung.reached;
    const runtime = await fixture.crash();
    expect(runtime.mended).toEqual(['VM vm: removed a snapshot that was not finished']);
    expect(await runtime.get('vm')).toMatchObject({ status: 'running', snapshots: [] });
    expect((await runtime.exec('vm', { command: 'cat /root/note' })).stdout).toBe('kept');
  });

  test('while a VM runs finds out that it has ended meanwhile', async () => {
    await using fixture = await openFixture();
    await started(fixture.runtime);
    fixture.backend = await fixture.backend.restarted(); // The old engine hears of nothing any more.
    fixture.backend.dieByItself('vm', 'killed by somebody');
    const runtime = await fixture.crash();
    expect(await runtime.get('vm')).toMatchObject({
      status: 'stopped',
      reason: 'its machine was gone when the engine came back',
    });
    expect(runtime.mended).toEqual([
      'VM vm: was running, is stopped, because its machine was gone when the engine came back',
    ]);
    expect(runtime.capacity.taken.memoryMiB).toBe(0);
  });

  test('twice while it mends still mends in the end', async () => {
    await using fixture = await dieAt('destroy.ended');
    const hang = (name: string) =>
      name === 'destroy.removed' ? new Promise<void>(() => undefined) : undefined;
    void fixture.crash({ failpoint: hang });
    while (existsSync(join(fixture.root, 'vms', 'vm'))) await new Promise((resolve) => setImmediate(resolve));
    await fixture.crash();
    await expectPromises(fixture);
  });
});
