import { execFileSync } from 'node:child_process';
import { fstatSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { VmRuntime } from '../../src/vm/index.ts';
import { qemuPids } from './machine-fixture.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { countOf, digestOf, furnish, sh } from './witness.ts';

const MiB = 2 ** 20;

/** Of a file that this process has open under that name, and that has none any more. */
function sizeOfDeleted(name: string): number {
  const open = readdirSync('/proc/self/fd').filter((fd) => {
    const path = readlinkIfThere(`/proc/self/fd/${fd}`);
    return path.endsWith(`/${name} (deleted)`);
  });
  return fstatSync(Number(open[0])).size;
}

function readlinkIfThere(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // Closed meanwhile.
  }
}

/** A state directory on a small file system of its own, which the tests fill. */
describe('a full disk', { sequential: true }, () => {
  let work: string;
  let mount: string;
  let fixture: RuntimeFixture;
  let runtime: VmRuntime;
  let digest: string;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'alcove-full-'));
    mount = join(work, 'mount');
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1200m', 'tmpfs', mount]);
    fixture = await openRuntimeFixture(join(mount, 'state'));
    runtime = await fixture.open();
    await runtime.create({ id: 'source', image: 'builtin', diskMiB: 32, memoryMiB: 256 });
    await runtime.start('source');
    await furnish(runtime, 'source');
    await sh(runtime, 'source', 'head -c 20000000 /dev/urandom > /dev/shm/much');
    digest = await digestOf(runtime, 'source');
    await runtime.snapshot('source', { id: 'base' });
  });
  beforeEach(free);
  afterAll(async () => {
    free();
    await fixture?.finish(runtime);
    execFileSync('umount', [mount]);
    rmSync(work, { recursive: true });
  });

  function free(): void {
    rmSync(join(mount, 'filler'), { force: true });
  }

  /** Leaves so many bytes free. */
  function fill(left: number): void {
    const { bavail, bsize } = statfsSync(mount);
    execFileSync('fallocate', ['-l', String(bavail * bsize - left), join(mount, 'filler')]);
  }

  async function expectSourceWell(): Promise<void> {
    free();
    await vi.waitFor(() => fixture.expectNothingUnlisted(runtime), { timeout: 10_000 });
    expect((await runtime.get('source'))?.status).toBe('running');
    expect(await digestOf(runtime, 'source')).toBe(digest);
    await countOf(runtime, 'source', await countOf(runtime, 'source'));
  }

  test.each([1, 6])('with %i MiB left: no snapshot, and the VM goes on', async (left) => {
    await sh(runtime, 'source', 'head -c 20000000 /dev/urandom > /dev/shm/much');
    fill(left * MiB);
    await expect(runtime.snapshot('source', { id: 'new' })).rejects.toMatchObject({ code: 'StateUnusable' });
    expect((await runtime.snapshots.list()).map(({ ref }) => ref)).toEqual(['source/base']);
    await expectSourceWell();
  });

  test.each([1, 6])('with %i MiB left: no suspension, and the VM goes on', async (left) => {
    fill(left * MiB);
    await expect(runtime.stop('source', { memory: true })).rejects.toMatchObject({ code: 'StateUnusable' });
    await expectSourceWell();
  });

  test('no memory image is made, and the copy stays as it was', async () => {
    await runtime.restore('source/base', { id: 'copy' });
    const images = join(fixture.stateDir.templatesDir, 'memory');
    for (const name of readdirSync(images)) rmSync(join(images, name));
    fill(4 * MiB);
    await expect(runtime.start('copy')).rejects.toMatchObject({ code: 'StateUnusable' });
    expect((await runtime.get('copy'))?.status).not.toBe('running');
    expect(readdirSync(fixture.stateDir.tmpDir)).toEqual([]);
    await expectSourceWell();
    await runtime.start('copy');
    expect(await digestOf(runtime, 'copy')).toBe(digest);
    await runtime.destroy('copy');
  });

  test('no copy is made of which nothing fits', async () => {
    fill(0);
    await expect(runtime.restore('source/base', { id: 'copy' })).rejects.toMatchObject({
      code: 'StateUnusable',
    });
    free();
    expect(await runtime.get('copy')).toBeUndefined();
    await expectSourceWell();
  });

  test('no template is made, and the next start makes it', async () => {
    await runtime.create({ id: 'other', image: 'builtin', diskMiB: 32, memoryMiB: 160 });
    fill(30 * MiB);
    await expect(runtime.start('other')).rejects.toMatchObject({
      code: expect.stringMatching(/^(StateUnusable|VmFailed)$/),
    });
    await expectSourceWell();
    await runtime.start('other');
    expect(await sh(runtime, 'other', 'echo works')).toBe('works\n');
    await runtime.destroy('other');
  });

  test('what is too much for the memory of the engine goes by a file that is not left', async () => {
    await sh(runtime, 'source', 'head -c 76000000 /dev/urandom > /dev/shm/more');
    let before = 0;
    let taken = 0;
    let spilled = 0;
    await runtime.close();
    runtime = await fixture.open({
      failpoint: async (name) => {
        if (name !== 'capture.saved') return;
        taken = process.memoryUsage().arrayBuffers - before;
        spilled = sizeOfDeleted('capture.spill');
      },
    });
    before = process.memoryUsage().arrayBuffers;
    await runtime.snapshot('source', { id: 'big' });
    expect(taken).toBeLessThan(76 * MiB); // Less than what changed in the guest.
    expect(spilled).toBeGreaterThan(4 * MiB);
    await runtime.restore('source/big', { id: 'copy' });
    await runtime.start('copy');
    const sum = 'sha256sum < /dev/shm/more';
    expect(await sh(runtime, 'copy', sum)).toBe(await sh(runtime, 'source', sum));
    await runtime.destroy('copy');
    await runtime.snapshots.remove('source/big');
    await expectSourceWell();
  });

  test('no room for that file either: no snapshot, and the VM goes on', async () => {
    fill(2 * MiB);
    await expect(runtime.snapshot('source', { id: 'big' })).rejects.toMatchObject({ code: 'StateUnusable' });
    await sh(runtime, 'source', 'rm /dev/shm/more');
    await expectSourceWell();
  });

  test('a QEMU that is killed for want of memory while it is captured: a typed error, and no snapshot', async () => {
    await runtime.close();
    runtime = await fixture.open({
      failpoint: async (name) => {
        if (name === 'capture.frozen')
          for (const pid of qemuPids(fixture.stateDir.runtimeDir)) process.kill(pid, 'SIGKILL');
      },
    });
    await expect(runtime.snapshot('source', { id: 'new' })).rejects.toMatchObject({ code: 'VmFailed' });
    expect((await runtime.snapshots.list()).map(({ ref }) => ref)).toEqual(['source/base']);
    await vi.waitFor(() => fixture.expectNothingUnlisted(runtime), { timeout: 10_000 });
    expect(await runtime.get('source')).toMatchObject({
      status: 'stopped',
      reason: expect.any(String),
    });
  });
});
