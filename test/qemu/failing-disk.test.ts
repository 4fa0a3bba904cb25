import { type FileHandle, open } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { VmRuntime } from '../../src/vm/index.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { countOf, digestOf, furnish } from './witness.ts';

/** Whether a sync fails, of what is being written. */
type Failure = (what: 'directory' | 'file') => boolean;

const never: Failure = () => false;

function onTheNextDirectory(): Failure {
  let left = 1;
  return (what) => what === 'directory' && left-- > 0;
}

function fromTheNextDirectoryOn(): Failure {
  let broken = false;
  return (what) => {
    broken ||= what === 'directory';
    return broken;
  };
}

/** It takes bytes and names, and then cannot make them durable. */
describe('a disk that fails at the last step', { sequential: true }, () => {
  let fixture: RuntimeFixture;
  let runtime: VmRuntime;
  let digest: string;
  let count: number;
  let failure = never;
  /** At which step of the backend it begins to fail, and how. */
  let plan: { step: string; failure: Failure } | undefined;

  beforeAll(async () => {
    fixture = await openRuntimeFixture();
    await using any: FileHandle = await open(fixture.stateDir.root);
    const handles: FileHandle = Object.getPrototypeOf(any);
    const { sync } = handles;
    vi.spyOn(handles, 'sync').mockImplementation(async function (this: FileHandle) {
      if (failure((await this.stat()).isDirectory() ? 'directory' : 'file'))
        throw Object.assign(new Error('EIO: i/o error, fsync'), { code: 'EIO' });
      return sync.call(this);
    });
  });
  beforeEach(async () => {
    await openAgain();
    await runtime.create({ id: 'vm', image: 'builtin', diskMiB: 64, memoryMiB: 128 });
    await runtime.start('vm');
    await furnish(runtime, 'vm');
    digest = await digestOf(runtime, 'vm');
    count = await countOf(runtime, 'vm');
  });
  afterEach(async () => {
    repair();
    await runtime.destroy('vm');
    await fixture.expectNothingUnlisted(runtime);
    await runtime.close();
  });
  afterAll(() => {
    vi.restoreAllMocks();
    fixture?.close();
  });

  async function openAgain(): Promise<void> {
    runtime = await fixture.open({
      failpoint: async (step) => {
        if (step === plan?.step) failure = plan.failure;
      },
    });
  }

  function repair(): void {
    plan = undefined;
    failure = never;
  }

  async function expectItGoesOn(): Promise<void> {
    expect(await digestOf(runtime, 'vm')).toBe(digest);
    count = await countOf(runtime, 'vm', count);
  }

  test('of a suspension: the VM goes on, and is not taken for suspended later', async () => {
    plan = { step: 'capture.written', failure: onTheNextDirectory() };
    await expect(runtime.stop('vm', { memory: true })).rejects.toMatchObject({ code: 'StateUnusable' });
    expect((await runtime.get('vm'))?.status).toBe('running');
    await expectItGoesOn();
    await runtime.close();
    await openAgain();
    expect((await runtime.get('vm'))?.status).toBe('running');
    await expectItGoesOn();
  });

  test('of a suspension, and then takes nothing: the VM is suspended, and no write of it comes after its memory', async () => {
    plan = { step: 'capture.written', failure: fromTheNextDirectoryOn() };
    await expect(runtime.stop('vm', { memory: true })).rejects.toMatchObject({ code: 'StateUnusable' });
    expect((await runtime.get('vm'))?.status).toBe('stopped');
    repair();
    await runtime.close();
    await openAgain();
    await runtime.start('vm');
    await expectItGoesOn();
  });

  test('of a start from memory: it is taken back as a whole, and can be done again', async () => {
    await runtime.stop('vm', { memory: true });
    plan = { step: 'start.marked', failure: onTheNextDirectory() };
    await expect(runtime.start('vm')).rejects.toMatchObject({ code: 'StateUnusable' });
    expect((await runtime.get('vm'))?.status).toBe('stopped');
    await fixture.expectNothingUnlisted(runtime);
    await runtime.start('vm');
    await expectItGoesOn();
  });
});
