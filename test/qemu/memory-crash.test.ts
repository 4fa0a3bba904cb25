import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { isAlcoveError } from '../../src/errors.ts';
import type { VmRuntime } from '../../src/vm/index.ts';
import { qemuPids } from './machine-fixture.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { countOf, digestOf, furnish, sh } from './witness.ts';

/** How often every step is gone through; more than once is for a machine that has the time. */
const rounds = Number(process.env.ALCOVE_CRASH_ROUNDS ?? 1);

type Doomed = 'start' | 'stop' | 'restore' | 'snapshot' | 'fork' | 'remove';

interface Scenario {
  name: string;
  /** Brings about what the call needs. */
  prepare?(runtime: VmRuntime): Promise<unknown>;
  call: [Doomed, ...args: string[]];
  /** The same, of a runtime of this process. */
  make(runtime: VmRuntime): Promise<unknown>;
  /** At which the engine dies. */
  steps: readonly string[];
  /** At which QEMU does. */
  qemuSteps: readonly string[];
}

const startSteps = [
  'start.journalled',
  'start.placed',
  'start.loaded',
  'start.marked',
  'start.done',
  'start.committed',
];
const captureSteps = ['capture.frozen', 'capture.saved', 'capture.resumed', 'capture.written'];
const templateSteps = ['directory', 'spawned', 'saved', 'booted', 'sealed', 'committed'].map(
  (step) => `template.${step}`,
);

const scenarios: readonly Scenario[] = [
  {
    name: 'a start from the template',
    prepare: (runtime) => runtime.create({ id: 'vm', image: 'builtin', diskMiB: 256 }),
    call: ['start', 'vm'],
    make: (runtime) => runtime.start('vm'),
    steps: startSteps,
    qemuSteps: ['start.placed', 'start.loaded', 'start.marked', 'start.done'],
  },
  {
    name: 'a restore',
    call: ['restore', 'source/base', 'vm'],
    make: (runtime) => runtime.restore('source/base', { id: 'vm' }),
    steps: ['create.journalled', 'create.made', 'create.synced', 'create.committed'],
    qemuSteps: [],
  },
  {
    name: 'the start of a copy',
    prepare: (runtime) => runtime.restore('source/base', { id: 'vm' }),
    call: ['start', 'vm'],
    make: (runtime) => runtime.start('vm'),
    steps: ['start.placed', 'start.loaded', 'start.marked'],
    qemuSteps: ['start.marked'],
  },
  {
    name: 'a suspension',
    prepare: (runtime) => startCopy(runtime, 'vm'),
    call: ['stop', 'vm'],
    make: (runtime) => runtime.stop('vm', { memory: true }),
    steps: ['stop.journalled', ...captureSteps, 'suspend.marked', 'stop.done', 'stop.committed'],
    qemuSteps: [...captureSteps, 'suspend.marked'],
  },
  {
    name: 'the start of a suspended VM',
    prepare: async (runtime) => {
      await startCopy(runtime, 'vm');
      await runtime.stop('vm', { memory: true });
    },
    call: ['start', 'vm'],
    make: (runtime) => runtime.start('vm'),
    steps: startSteps.slice(1),
    qemuSteps: ['start.placed', 'start.loaded', 'start.marked'],
  },
  {
    name: 'a snapshot',
    prepare: (runtime) => startCopy(runtime, 'vm'),
    call: ['snapshot', 'vm', 'new'],
    make: (runtime) => runtime.snapshot('vm', { id: 'new' }),
    steps: [
      'snapshot.journalled',
      'snapshot.directory',
      ...captureSteps,
      'snapshot.captured',
      'snapshot.synced',
      'snapshot.committed',
    ],
    qemuSteps: ['snapshot.directory', ...captureSteps, 'snapshot.captured'],
  },
  {
    name: 'a fork',
    prepare: (runtime) => startCopy(runtime, 'vm'),
    call: ['fork', 'vm'],
    make: (runtime) => runtime.fork('vm', 2, { start: 'yes' }),
    steps: ['capture.saved', 'snapshot.committed', 'create.made', 'start.loaded', 'start.done'],
    qemuSteps: ['capture.saved', 'create.made', 'start.loaded'],
  },
  {
    name: 'the removal of a snapshot',
    prepare: async (runtime) => {
      await startCopy(runtime, 'vm');
      await runtime.snapshot('vm', { id: 'new' });
    },
    call: ['remove', 'vm/new'],
    make: (runtime) => runtime.snapshots.remove('vm/new'),
    steps: ['remove-snapshot.journalled', 'remove-snapshot.removed', 'remove-snapshot.committed'],
    qemuSteps: [],
  },
];

async function startCopy(runtime: VmRuntime, id: string): Promise<void> {
  await runtime.restore('source/base', { id });
  await runtime.start(id);
}

describe('killed at any step', { sequential: true }, () => {
  let fixture: RuntimeFixture;
  /** Of `source`, its snapshot, and every copy: none changes what it has. */
  let digest: string;
  let sleeperDigest: string;
  let sleeperCount: number;

  beforeAll(async () => {
    fixture = await openRuntimeFixture();
  });
  afterEach(async () => {
    await using runtime = await fixture.open();
    await destroyGuests(runtime);
  });
  afterAll(async () => {
    if (fixture) await fixture.finish(await fixture.open());
  });

  test.each(templateSteps)('the engine, making a template, at %s', async (step) => {
    await withRuntime((runtime) => runtime.create({ id: 'vm', image: 'builtin', diskMiB: 256 }));
    await dieAt(step, ['start', 'vm']);
    await withRuntime(async (runtime) => {
      await fixture.expectNothingUnlisted(runtime);
      expect((await runtime.get('vm'))?.status).not.toBe('running');
    });
  });

  test('QEMU, making a template', async () => {
    await withRuntime((runtime) => runtime.create({ id: 'vm', image: 'builtin', diskMiB: 256 }));
    const { failpoint, killed } = killing('template.spawned');
    for (const name of readdirSync(fixture.stateDir.templatesDir))
      rmSync(join(fixture.stateDir.templatesDir, name), { recursive: true });
    await withRuntime(
      async (runtime) => {
        await expect(runtime.start('vm')).rejects.toMatchObject({ code: 'VmFailed' });
        await fixture.expectNothingUnlisted(runtime);
      },
      [{ failpoint }],
    );
    expect(killed()).toBe(1);
  });

  test('what an engine died over is made anew', async () => {
    await withRuntime(async (runtime) => {
      for (const id of ['source', 'sleeper']) {
        await runtime.create({ id, image: 'builtin', diskMiB: 256 });
        await runtime.start(id);
        await furnish(runtime, id);
      }
      digest = await digestOf(runtime, 'source');
      sleeperDigest = await digestOf(runtime, 'sleeper');
      sleeperCount = await countOf(runtime, 'sleeper');
      await runtime.snapshot('source', { id: 'base' });
      await runtime.stop('source');
      await runtime.stop('sleeper', { memory: true });
      await expectWhole(runtime);
    });
  });

  const all = Array.from({ length: rounds }, () => scenarios).flat();
  describe.each(all)('in $name', (scenario) => {
    test.each(scenario.steps)('the engine, at %s', async (step) => {
      await withRuntime((runtime) => scenario.prepare?.(runtime));
      await dieAt(step, scenario.call);
      await withRuntime((runtime) => expectWhole(runtime));
    });

    test.each(scenario.qemuSteps)('QEMU, at %s', async (step) => {
      await withRuntime((runtime) => scenario.prepare?.(runtime));
      const { failpoint, killed, warnings } = killing(step);
      await withRuntime(
        async (runtime) => {
          await scenario.make(runtime).catch((error: unknown) => {
            if (!isAlcoveError(error)) throw error;
          });
          await expectWhole(runtime, 'memory may be lost');
        },
        [{ failpoint }, { failpoint, warn: (message) => warnings.push(message) }],
      );
      expect(killed()).toBeGreaterThan(0);
      expect(warnings).toEqual([]);
    });
  });

  test('the VM that slept through all of this wakes as it was', async () => {
    await withRuntime(async (runtime) => {
      expect((await runtime.get('sleeper'))?.status).toBe('stopped');
      await runtime.start('sleeper');
      expect(await digestOf(runtime, 'sleeper')).toBe(sleeperDigest);
      await countOf(runtime, 'sleeper', sleeperCount);
    });
  });

  async function withRuntime(
    work: (runtime: VmRuntime) => Promise<unknown> | undefined,
    options: Parameters<RuntimeFixture['open']> = [],
  ): Promise<void> {
    await using runtime = await fixture.open(...options);
    await work(runtime);
  }

  /** Another process makes the call, and is killed when it is at the step. */
  async function dieAt(step: string, [call, ...args]: [Doomed, ...string[]]): Promise<void> {
    const request = join(fixture.stateDir.root, 'request.json');
    writeFileSync(request, JSON.stringify({ stateDir: fixture.stateDir, step, call, args }));
    const program = fileURLToPath(new URL('./doomed-runtime.ts', import.meta.url));
    const engine = spawn(process.execPath, [program, request], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    for await (const chunk of engine.stdout) {
      said += String(chunk);
      if (/reached|passed/.test(said)) break;
    }
    engine.kill('SIGKILL');
    if (engine.exitCode === null && engine.signalCode === null) await once(engine, 'exit');
    rmSync(request);
    expect(said).toMatch(/^(reached)+$/); // Forks come to it side by side.
  }

  /** What must hold whatever died: what is listed works and has the right bytes, and there is nothing else. */
  async function expectWhole(
    runtime: VmRuntime,
    of: 'memory is kept' | 'memory may be lost' = 'memory is kept',
  ): Promise<void> {
    await vi.waitFor(() => fixture.expectNothingUnlisted(runtime), { timeout: 10_000 }); // What a machine leaves that died is cleared away beside the calls.
    for (const { id, status } of await runtime.list()) {
      if (status === 'destroyed' || id === 'source' || id === 'sleeper') continue;
      await expectVm(runtime, id, of);
    }
    for (const { ref } of await runtime.snapshots.list()) {
      if (ref === 'source/base' && rounds === 1 && (await runtime.get('vm'))?.from === ref) continue; // Seen by its copy.
      await startSnapshot(runtime, ref);
    }
    await fixture.expectNothingUnlisted(runtime);
  }

  async function expectVm(
    runtime: VmRuntime,
    id: string,
    of: 'memory is kept' | 'memory may be lost',
  ): Promise<void> {
    const vm = await runtime.get(id);
    // One that was started from memory and died says why, and begins anew from its disk.
    const began = vm?.from === undefined || (of === 'memory may be lost' && vm.reason !== undefined);
    if (vm?.status !== 'running') await runtime.start(id);
    if (began) {
      await sh(runtime, id, 'true');
      return;
    }
    expect(await digestOf(runtime, id)).toBe(digest);
    await countOf(runtime, id, await countOf(runtime, id));
  }

  async function startSnapshot(runtime: VmRuntime, ref: string): Promise<void> {
    await runtime.restore(ref as `${string}/${string}`, { id: 'check' });
    await runtime.start('check');
    expect(await digestOf(runtime, 'check')).toBe(digest);
    await runtime.destroy('check');
  }

  async function destroyGuests(runtime: VmRuntime): Promise<void> {
    for (const { id, status } of await runtime.list())
      if (status !== 'destroyed' && id !== 'source' && id !== 'sleeper') await runtime.destroy(id);
    for (const { ref } of await runtime.snapshots.list())
      if (ref !== 'source/base') await runtime.snapshots.remove(ref);
  }

  /** Kills every QEMU of this state directory when a step is reached for the first time. */
  function killing(step: string) {
    let killed = 0;
    const warnings: string[] = [];
    const failpoint = (name: string) => {
      if (name !== step || killed > 0) return undefined;
      const pids = qemuPids(fixture.stateDir.runtimeDir);
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      killed += pids.length;
      return undefined;
    };
    return { failpoint, killed: () => killed, warnings };
  }
});
