import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createQemuBackend } from '../../src/backends/qemu/index.ts';
import { openImageStore, openKernelStore } from '../../src/images/index.ts';
import { Database, openStateDir, type StateDir } from '../../src/store/index.ts';
import { openVmRuntime, type VmRuntime, type WarmOptions } from '../../src/vm/index.ts';
import { processesOf } from './machine-fixture.ts';

/** The pool at work on real machines, with the host's own clock; every test goes on where the one before ended. */
describe('a warm pool', { sequential: true }, () => {
  let stateDir: StateDir;
  let database: Database;
  let runtime: VmRuntime;
  const warnings: string[] = [];

  const open = (warm: Partial<WarmOptions>) =>
    openVmRuntime({
      database,
      stateDir,
      backends: [createQemuBackend({ stateDir, accel: 'tcg' })],
      defaultBackend: 'qemu',
      images: openImageStore({ stateDir, database }),
      kernels: openKernelStore({ stateDir }),
      warn: (message) => warnings.push(message),
      warm,
    });
  const kinds = async () => (await runtime.warm.list()).map(({ kind }) => kind).sort();
  /** What is to wait, in the end; a warning says why it does not. */
  const settled = (...wanted: string[]) =>
    expect
      .poll(async () => ({ waiting: await kinds(), warnings }), { timeout: 60_000 })
      .toEqual({
        waiting: wanted,
        warnings: expect.not.arrayContaining([expect.stringContaining('could not')]),
      });
  const begin = async (id: string) => {
    await runtime.create({ id, image: 'builtin' });
    await runtime.start(id);
    return (await runtime.exec(id, { command: 'hostname' })).stdout;
  };

  beforeAll(async () => {
    const root = mkdtempSync(join(tmpdir(), 'alcove-warm-'));
    stateDir = openStateDir({ root });
    database = new Database(stateDir.databasePath);
    runtime = await open({ pool: 'on' });
  });
  afterAll(async () => {
    await runtime.close(); // A test that failed may have left it closed, or open.
    runtime = await open({});
    await runtime.warm.drop();
    for (const { id } of await runtime.list({ destroyed: 'leave-out' })) await runtime.destroy(id);
    await runtime.close();
    expect(processesOf(stateDir.root)).toEqual([]);
    database.close();
    stateDir[Symbol.dispose]();
    rmSync(stateDir.root, { recursive: true });
  });

  test('makes what was started, and the next start takes it', async () => {
    expect(await begin('a')).toBe('a\n');
    await settled('image', 'shape');
    expect(await begin('b')).toBe('b\n');
    expect(await runtime.warm.stats()).toMatchObject({ claims: { image: 1 }, misses: 1, unusable: 0 });
    await settled('image', 'shape');
  });

  test('notices when one is killed, and makes another', async () => {
    const image = (await runtime.warm.list()).find(({ kind }) => kind === 'image');
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    const pid = pids.find((candidate) => commandLine(candidate).includes(`-spare_${image?.id}`));
    process.kill(Number(pid), 'SIGKILL');
    await expect.poll(async () => (await runtime.warm.stats()).givenUp.died, { timeout: 60_000 }).toBe(1);
    await settled('image', 'shape');
    expect(await begin('c')).toBe('c\n');
    expect(warnings.filter((warning) => !warning.includes('ended by itself'))).toEqual([]);
  });

  test('copies of a memory snapshot find one that goes on from it', async () => {
    await runtime.exec('a', { command: 'sleep 7300 >/dev/null 2>&1 &', background: 'keep' });
    await runtime.snapshot('a', { id: 's' });
    for (const id of ['copy-1', 'copy-2']) {
      await runtime.restore('a/s', { id });
      await runtime.start(id);
      expect((await runtime.exec(id, { command: 'ps | grep -c "[s]leep 7300"; hostname' })).stdout).toBe(
        `1\n${id}\n`,
      );
      await expect.poll(kinds, { timeout: 60_000 }).toContain('memory');
    }
    expect((await runtime.warm.stats()).claims).toMatchObject({ memory: 1 });
  });

  test('ends with its engine, unless it is to be kept for the next', async () => {
    const running = (await runtime.list({ destroyed: 'leave-out' })).length;
    await runtime.close();
    runtime = await open({});
    expect(processesOf(stateDir.root)).toHaveLength(running);
    expect(readdirSync(stateDir.sparesDir)).toEqual([]);
    expect(runtime.mended).toEqual([]);
    await runtime.close();
    runtime = await open({ pool: 'on', atClose: 'keep', perSnapshot: 0 });
    await begin('d');
    await settled('image', 'shape');
    await runtime.close();
    runtime = await open({});
    expect(runtime.mended).toEqual([]);
    expect(await kinds()).toEqual(['image', 'shape']);
    await begin('e');
    await begin('f');
    expect((await runtime.warm.stats()).claims).toMatchObject({ image: 1, shape: 1 });
    expect(await kinds()).toEqual([]);
  });
});

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // It ended meanwhile.
  }
}
