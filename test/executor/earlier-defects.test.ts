/** Defects of earlier systems that must not come back, by the names that spec/execution.md has for them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Action } from '../../src/executor/index.ts';
import type { SnapshotRef } from '../../src/vm/index.ts';
import { type ExecutorFixture, openExecutorFixture, roomyCache } from './executor-fixture.ts';

let fixture: ExecutorFixture;
let folder: string;
beforeEach(async () => {
  fixture = await openExecutorFixture({ limits: { ...roomyCache, maxEntries: 2 } });
  folder = mkdtempSync(join(tmpdir(), 'alcove-folder-'));
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const action = (command: Action['command'] = 'true', more: Partial<Action> = {}): Action => ({
  source: { image: 'builtin' },
  command,
  ...more,
});
const execute: ExecutorFixture['executor']['execute'] = (...args) => fixture.executor.execute(...args);
const keys = async () => (await fixture.executor.cache.list()).map(({ key }) => key);
const snapshots = async () => {
  await fixture.executor.settled();
  return (await fixture.vm.runtime.snapshots.list()).map(({ ref }) => ref);
};

test('replaced key leaks its snapshot', async () => {
  await execute(action(), { cache: 'k' });
  const { snapshot } = await execute(action(), { cache: 'k', mode: 'refresh' });
  expect(await snapshots()).toEqual([snapshot]);
});

test('one-second LRU clock evicts the newest', async () => {
  for (const key of ['a', 'b', 'c', 'd']) await execute(action(), { cache: key }); // The clock stands still.
  expect(await keys()).toEqual(['d', 'c']);
});

test('eviction of a snapshot in use', async () => {
  const { snapshot = 'none/none' } = await execute(action('write /out base'), { cache: 'base' });
  const use = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  fixture.vm.backend.script('use', async (run) => {
    begun.resolve();
    await use.promise;
    await run.print(run.files.read('/out'));
    return 0;
  });
  const running = execute({ source: { snapshot }, command: 'use' });
  await begun.promise;
  for (const key of ['a', 'b', 'c']) await execute(action(), { cache: key });
  expect(await keys()).toContain('base');
  use.resolve();
  expect((await running).stdout).toBe('base');
});

test('two concurrent misses both build', async () => {
  await Promise.all([1, 2].map(() => execute(action('echo built'), { cache: 'k' })));
  expect(fixture.vm.backend.log.filter(({ call }) => call === 'exec')).toHaveLength(1);
});

test('unknown exit status taken as success and cached', async () => {
  fixture.vm.backend.script('vanish', async (run) => {
    await run.print('almost done\n');
    fixture.vm.backend.dieByItself(run.vmId, 'nobody knows');
    return 0;
  });
  await expect(execute(action('vanish'), { cache: 'k' })).rejects.toHaveProperty('code', 'VmFailed');
  expect(await keys()).toEqual([]);
  expect(await snapshots()).toEqual([]);
});

test('log lines split per chunk and broken characters', async () => {
  fixture.vm.backend.script('chunks', async (run) => {
    for (const byte of Buffer.from('naïve\nend')) await run.print(Buffer.of(byte));
    return 0;
  });
  const lines: string[] = [];
  await execute(action('chunks'), 'none', { onStdout: (line) => void lines.push(line) });
  expect(lines).toEqual(['naïve', 'end']);
});

test('a hit that shows no output', async () => {
  await execute(action('echo hello'), { cache: 'k' });
  const lines: string[] = [];
  const hit = await execute(
    action('echo hello'),
    { cache: 'k' },
    { onStdout: (line) => void lines.push(line) },
  );
  expect(hit).toMatchObject({ cached: true, stdout: 'hello\n' });
  expect(lines).toEqual(['hello']);
});

test('snapshot of a VM that still writes', async () => {
  fixture.vm.backend.script('writer', async (run) => {
    for (;;) {
      run.files.append('/log', 'x');
      await run.sleep(1);
    }
  });
  fixture.vm.backend.script('leave a writer', async (run) => {
    run.fork('writer');
    return 0;
  });
  const { snapshot = 'none/none' } = await execute(action('leave a writer'));
  await fixture.vm.clock.advance(100);
  const read = () => execute({ source: { snapshot }, command: 'cat /log' });
  const [one, two] = [await read(), await read()];
  expect(one.stdout).toBe(two.stdout);
  expect(fixture.vm.backend.log.findLast(({ call }) => call === 'snapshot')).toBeDefined();
});

test('timeout that drops the future and leaves the process', async () => {
  let killed: AbortSignal | undefined;
  fixture.vm.backend.script('stay', async (run) => {
    killed = run.killed;
    await run.print('here\n');
    await run.sleep(1_000_000);
    return 0;
  });
  const running = execute(action('stay', { timeoutMs: 100 }), 'none', {
    onStdout: () => void setImmediate(() => fixture.vm.clock.advance(100)),
  });
  await expect(running).rejects.toHaveProperty('code', 'CommandTimedOut');
  expect(killed?.aborted).toBe(true);
  await fixture.executor.settled();
  expect(fixture.vm.backend.running).toEqual([]);
});

test.for<[string, Partial<Action>]>([
  ['image', { source: { image: 'other' } }],
  ['command', { command: 'echo two' }],
  ['environment', { env: { MODE: 'two' } }],
])('key without %s', async ([, other]) => {
  await execute(action('echo one'), { auto: 'forever' });
  expect(await execute(action('echo one'), { auto: 'forever' })).toMatchObject({ cached: true });
  expect(await execute(action('echo one', other), { auto: 'forever' })).toMatchObject({ cached: false });
});

test('deleted files kept by inject', async () => {
  mkdirSync(join(folder, 'src'));
  writeFileSync(join(folder, 'src', 'old.c'), 'old');
  writeFileSync(join(folder, 'src', 'main.c'), 'main');
  const inject = { from: folder, to: '/job', mirror: true } as const;
  const { snapshot } = await execute(action('ls /job/src', { inject }));
  rmSync(join(folder, 'src', 'old.c'));
  const source = { snapshot: snapshot as SnapshotRef };
  expect((await execute({ source, command: 'ls /job/src', inject })).stdout).toBe('main.c\n');
});
