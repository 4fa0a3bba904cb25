import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import type { Action, CachePolicy, OutputMark } from '../../src/executor/index.ts';
import { type ExecutorFixture, openExecutorFixture, roomyCache } from './executor-fixture.ts';

let fixture: ExecutorFixture;
beforeEach(async () => {
  fixture = await openExecutorFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

const action = (command: Action['command'] = 'write /out made', more: Partial<Action> = {}): Action => ({
  source: { image: 'builtin' },
  command,
  ...more,
});
const kept: CachePolicy = { cache: 'k' };

/** Everything that the backend was asked so far, once nothing is under way. */
async function calls(): Promise<string[]> {
  await fixture.executor.settled();
  return fixture.vm.backend.log.map(({ call }) => call);
}

async function snapshots(): Promise<string[]> {
  await fixture.executor.settled();
  return (await fixture.vm.runtime.snapshots.list()).map(({ ref }) => ref);
}

const machines = async () => fixture.vm.runtime.list({ destroyed: 'leave-out' });
const keys = async () => (await fixture.executor.cache.list()).map(({ key }) => key);

test('a miss creates, starts, executes, snapshots and destroys, in this order', async () => {
  const result = await fixture.executor.execute(action(), kept);
  expect(result).toMatchObject({ exitCode: 0, cached: false, joined: false, key: 'k', warnings: [] });
  expect(await calls()).toEqual(['create', 'start', 'exec', 'snapshot', 'destroy']);
  expect(await machines()).toEqual([]);
  expect(await snapshots()).toEqual([result.snapshot]);
});

test('what is injected is there before the command runs', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-folder-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'note'), 'from the host');
  const { stdout } = await fixture.executor.execute(
    action('cat /job/note', { inject: { from: folder, to: '/job' } }),
    kept,
  );
  expect(stdout).toBe('from the host');
  expect(await calls()).toEqual(['create', 'start', 'tarIn', 'exec', 'snapshot', 'destroy']);
});

test('a file that changes between look-up and copy makes the result that of another key', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-folder-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const write = (text: string) => writeFileSync(join(folder, 'note'), text);
  write('before');
  const read = action('cat /job/note', { inject: { from: folder, to: '/job' } });
  const hung = fixture.vm.backend.hang('start.begin');
  const running = fixture.executor.execute(read, { auto: 'forever' });
  await hung.reached;
  write('after');
  hung.release();
  expect((await running).stdout).toBe('after');
  expect(await fixture.executor.execute(read, { auto: 'forever' })).toMatchObject({
    cached: true,
    stdout: 'after',
  });
  write('before');
  expect(await fixture.executor.execute(read, { auto: 'forever' })).toMatchObject({
    cached: false,
    stdout: 'before',
  });
});

test('a hit asks the backend nothing, gives the same snapshot, and says how much it saved', async () => {
  fixture.vm.backend.script('work', async (run) => {
    fixture.vm.clock.advance(5000);
    await run.print('done\n');
    return 0;
  });
  const first = await fixture.executor.execute(action('work'), kept);
  const before = await calls();
  const second = await fixture.executor.execute(action('work'), kept);
  expect(second).toMatchObject({ exitCode: 0, cached: true, snapshot: first.snapshot, stdout: 'done\n' });
  expect(second.savedMs).toBeGreaterThanOrEqual(5000);
  expect(await calls()).toEqual(before);
  expect(await fixture.executor.cache.stats()).toMatchObject({ entries: 1, hits: 1, misses: 1 });
});

test('a hit is a hit after a restart', async () => {
  const first = await fixture.executor.execute(action(), kept);
  const again = await fixture.reopen();
  expect(await again.execute(action(), kept)).toMatchObject({ cached: true, snapshot: first.snapshot });
});

test('the output of a hit is replayed on the streams it came from, in its order, marked as replayed', async () => {
  fixture.vm.backend.script('both', async (run) => {
    await run.print('one\n');
    await run.printError('two\n');
    await run.print('three\n');
    return 0;
  });
  const seen: [string, string, OutputMark][] = [];
  const sink = {
    onStdout: (line: string, about: OutputMark) => void seen.push(['out', line, about]),
    onStderr: (line: string, about: OutputMark) => void seen.push(['err', line, about]),
  };
  const text = { stdout: 'one\nthree\n', stderr: 'two\n' };
  expect(await fixture.executor.execute(action('both'), kept, sink)).toMatchObject(text);
  const live = seen.splice(0);
  expect(await fixture.executor.execute(action('both'), kept, sink)).toMatchObject(text);
  expect(seen).toEqual([
    ['out', 'one', { replayed: true }],
    ['err', 'two', { replayed: true }],
    ['out', 'three', { replayed: true }],
  ]);
  // Two streams have no common order while they are live.
  const marks = live.map(([, , { replayed }]) => replayed);
  expect(live.map(([, line]) => line).sort()).toEqual(['one', 'three', 'two']);
  expect(marks).toEqual([false, false, false]);
});

test('lines come whole however the output is cut, characters too', async () => {
  const euro = Buffer.from('€uro\nnext');
  fixture.vm.backend.script('cut', async (run) => {
    for (const byte of euro) await run.print(Buffer.of(byte));
    return 0;
  });
  const lines: string[] = [];
  const bytes: Uint8Array[] = [];
  const sink = {
    onStdout: (line: string) => void lines.push(line),
    onStdoutBytes: (chunk: Uint8Array) => void bytes.push(chunk),
  };
  await fixture.executor.execute(action('cut'), kept, sink);
  expect(lines).toEqual(['€uro', 'next']);
  expect(Buffer.concat(bytes).equals(euro)).toBe(true);
  lines.length = 0;
  await fixture.executor.execute(action('cut'), kept, sink);
  expect(lines).toEqual(['€uro', 'next']);
});

test('without a policy nothing is stored, and the snapshot is there until it is removed', async () => {
  const { snapshot } = await fixture.executor.execute(action());
  expect(await keys()).toEqual([]);
  expect(await snapshots()).toEqual([snapshot]);
  await fixture.executor.removeSnapshot(snapshot ?? 'none/none');
  expect(await snapshots()).toEqual([]);
});

test('snapshots that are not cached go when the engine closes', async () => {
  await fixture.executor.execute(action());
  await fixture.reopen();
  expect(await snapshots()).toEqual([]);
  expect(fixture.mended).toEqual([]);
});

test('and when it was killed, when the next one opens', async () => {
  const { snapshot } = await fixture.executor.execute(action());
  await fixture.crash();
  expect(await snapshots()).toEqual([]);
  expect(fixture.mended).toEqual([`removed snapshot ${snapshot}, of an action that is not cached`]);
});

test('a cached snapshot is not removed as if it were not', async () => {
  const { snapshot } = await fixture.executor.execute(action(), kept);
  await expect(fixture.executor.removeSnapshot(snapshot ?? 'none/none')).rejects.toMatchObject({
    code: 'SnapshotInUse',
    details: { key: 'k' },
  });
});

test.for<[string, Action['command'], number]>([
  ['a non-zero exit', 'false', 1],
  ['an end by a signal', 'die', 137],
])('%s is a result, stores nothing and snapshots nothing', async ([, command, exitCode]) => {
  fixture.vm.backend.script('die', { signal: 'SIGKILL' });
  const result = await fixture.executor.execute(action(command), kept);
  expect(result).toMatchObject({ exitCode, cached: false });
  expect(result).not.toHaveProperty('snapshot');
  expect(await calls()).toEqual(['create', 'start', 'exec', 'destroy']);
  expect(await keys()).toEqual([]);
  expect(await snapshots()).toEqual([]);
  expect(await fixture.executor.explain(action(command), kept)).toMatchObject({
    verdict: 'miss',
    why: { reason: 'gone', history: { reason: 'failed', detail: `exit code ${exitCode}` } },
  });
});

test('a refresh that fails leaves the earlier result, which is still a hit', async () => {
  const { snapshot } = await fixture.executor.execute(action(), kept);
  await fixture.executor.execute(action('false'), { cache: 'k', mode: 'refresh' });
  expect(await fixture.executor.execute(action(), kept)).toMatchObject({ cached: true, snapshot });
});

test('a command that times out ends with what it printed, stores nothing, and its machine goes', async () => {
  fixture.vm.backend.script('slow', async (run) => {
    await run.print('so far\n');
    await run.sleep(60_000);
    return 0;
  });
  const running = fixture.executor.execute(action('slow', { timeoutMs: 1000 }), kept, {
    onStdout: () => void setImmediate(() => fixture.vm.clock.advance(1000)),
  });
  await expect(running).rejects.toMatchObject({
    code: 'CommandTimedOut',
    details: { timeoutMs: 1000, stdout: Buffer.from('so far\n') },
  });
  expect(await calls()).toEqual(['create', 'start', 'exec', 'destroy']);
  expect(await keys()).toEqual([]);
  expect(await fixture.executor.explain(action('slow'), kept)).toMatchObject({
    why: { reason: 'gone', history: { reason: 'failed', detail: 'timed out' } },
  });
});

test('a call that is cancelled stores nothing, and its machine goes', async () => {
  fixture.vm.backend.script('hang', { stdout: 'up\n', hang: 'until-killed' });
  const stop = new AbortController();
  const running = fixture.executor.execute(action('hang'), kept, {
    signal: stop.signal,
    onStdout: () => stop.abort(),
  });
  await expect(running).rejects.toHaveProperty('code', 'Cancelled');
  await fixture.executor.settled();
  expect(await machines()).toEqual([]);
  expect(await keys()).toEqual([]);
});

test('what starts from a snapshot sees what was written, and names it as its parent', async () => {
  const { snapshot = 'none/none' } = await fixture.executor.execute(action(), { cache: 'first' });
  const result = await fixture.executor.execute(
    { source: { snapshot }, command: 'cat /out' },
    { cache: 'second' },
  );
  expect(result.stdout).toBe('made');
  expect((await calls()).slice(5)).toEqual(['restore', 'start', 'exec', 'snapshot', 'destroy']);
  expect(await fixture.executor.cache.inspect('second')).toMatchObject({ parent: snapshot });
});

test('with memory, what a command remembers is there for the next one', async () => {
  const first = await fixture.executor.execute(action('remember mood good', { memory: true }));
  const source = { snapshot: first.snapshot ?? 'none/none' } as const;
  expect((await fixture.executor.execute({ source, command: 'recall mood' })).stdout).toBe('good\n');
  const disk = await fixture.executor.execute(action('remember mood good'));
  const forgotten = { snapshot: disk.snapshot ?? 'none/none' } as const;
  expect((await fixture.executor.execute({ source: forgotten, command: 'recall mood' })).exitCode).toBe(1);
});

test('an entry whose snapshot is gone is dropped, and the action runs again', async () => {
  const { snapshot = 'none/none' } = await fixture.executor.execute(action(), kept);
  await fixture.vm.runtime.snapshots.remove(snapshot);
  expect(await fixture.executor.explain(action(), kept)).toMatchObject({ why: { reason: 'snapshot gone' } });
  const again = await fixture.executor.execute(action(), kept);
  expect(again.cached).toBe(false);
  expect(again.snapshot).not.toBe(snapshot);
  expect(await snapshots()).toEqual([again.snapshot]);
});

test('so is one whose files are gone, while the engine runs and after', async () => {
  const first = await fixture.executor.execute(action(), kept);
  rmSync(join(fixture.vm.root, 'snapshots'), { recursive: true });
  mkdirSync(join(fixture.vm.root, 'snapshots'));
  const second = await fixture.executor.execute(action(), kept);
  expect(second).toMatchObject({ cached: false, exitCode: 0 });
  expect(second.snapshot).not.toBe(first.snapshot);
  rmSync(join(fixture.vm.root, 'snapshots'), { recursive: true });
  mkdirSync(join(fixture.vm.root, 'snapshots'));
  await fixture.crash();
  expect(fixture.mended).toEqual([`dropped the cached result k, whose snapshot ${second.snapshot} is gone`]);
  expect(await keys()).toEqual([]);
});

test('a look-up that fails counts as a miss, and is reported', async () => {
  await fixture.executor.execute(action(), kept);
  vi.spyOn(fixture.vm.runtime.snapshots, 'has').mockRejectedValueOnce(new Error('the disk is tired'));
  const heard: string[] = [];
  const result = await fixture.executor.execute(action(), kept, {
    onWarning: (message) => heard.push(message),
  });
  expect(result.cached).toBe(false);
  expect(result.warnings).toEqual(['the cache could not be looked at: the disk is tired']);
  expect(heard).toEqual(result.warnings);
});

test('what is replaced and what is evicted is removed from the backend', async () => {
  await fixture.reopen({ limits: { ...roomyCache, maxEntries: 2 } });
  await fixture.executor.execute(action(), kept);
  const replaced = await fixture.executor.execute(action(), { cache: 'k', mode: 'refresh' });
  expect(await snapshots()).toEqual([replaced.snapshot]);
  const second = await fixture.executor.execute(action(), { cache: 'k2' });
  const third = await fixture.executor.execute(action(), { cache: 'k3' });
  expect(await snapshots()).toEqual([second.snapshot, third.snapshot]);
  expect(await fixture.executor.explain(action(), kept)).toMatchObject({
    why: { reason: 'gone', history: { reason: 'evicted' } },
  });
});

test('a snapshot that cannot be removed is a warning, and goes when the next engine opens', async () => {
  await fixture.executor.execute(action(), kept);
  vi.spyOn(fixture.vm.runtime.snapshots, 'release').mockRejectedValueOnce(new Error('busy'));
  const { snapshot } = await fixture.executor.execute(action(), { cache: 'k', mode: 'refresh' });
  await fixture.executor.settled();
  expect(fixture.warnings).toEqual([expect.stringContaining('busy')]);
  expect(await snapshots()).toHaveLength(2);
  await fixture.reopen();
  expect(await snapshots()).toEqual([snapshot]);
});

test('a snapshot that is a running action’s source is not evicted', async () => {
  await fixture.reopen({ limits: { ...roomyCache, maxEntries: 1 } });
  const { snapshot = 'none/none' } = await fixture.executor.execute(action(), { cache: 'base' });
  const go = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  fixture.vm.backend.script('wait', async () => {
    reached.resolve();
    await go.promise;
    return 0;
  });
  const running = fixture.executor.execute({ source: { snapshot }, command: 'wait' }, 'none');
  await reached.promise;
  await fixture.executor.execute(action(), { cache: 'other' });
  expect(await keys()).toEqual(['other', 'base']);
  go.resolve();
  expect(await running).toMatchObject({ exitCode: 0 });
});

test('a result that is held is not evicted until it is let go', async () => {
  await fixture.reopen({ limits: { ...roomyCache, maxEntries: 1 } });
  const held = await fixture.executor.executeHeld(action(), { cache: 'base' }, {});
  await fixture.executor.execute(action(), { cache: 'other' });
  expect(await keys()).toEqual(['other', 'base']);
  held[Symbol.dispose]();
  await fixture.executor.execute(action(), { cache: 'third' });
  expect(await keys()).toEqual(['third']);
  expect(await snapshots()).toHaveLength(1);
});

test('an entry counts up to its maximum age', async () => {
  const young = { cache: 'k', maxAgeMs: 1000 } as const;
  await fixture.executor.execute(action(), young);
  await fixture.vm.clock.advance(1000);
  expect(await fixture.executor.execute(action(), young)).toMatchObject({ cached: true });
  await fixture.vm.clock.advance(1);
  expect(await fixture.executor.explain(action(), young)).toMatchObject({ why: { reason: 'expired' } });
  expect(await fixture.executor.execute(action(), young)).toMatchObject({ cached: false });
});

test('read-only looks up, runs on a miss, and stores nothing', async () => {
  const readOnly: CachePolicy = { cache: 'k', mode: 'readOnly' };
  const missed = await fixture.executor.execute(action(), readOnly);
  expect(missed).toMatchObject({ cached: false, exitCode: 0 });
  expect(missed).not.toHaveProperty('key');
  expect(await keys()).toEqual([]);
  const { snapshot } = await fixture.executor.execute(action(), kept);
  expect(await fixture.executor.execute(action(), readOnly)).toMatchObject({ cached: true, snapshot });
});

test('a cached action on one that is not cached is an error that names both', async () => {
  const { snapshot = 'none/none' } = await fixture.executor.execute(action());
  for (const policy of [kept, { auto: 'forever' }] as const) {
    const child = { source: { snapshot }, command: 'true', name: 'child' };
    await expect(fixture.executor.execute(child, policy)).rejects.toMatchObject({
      code: 'ParentNotCached',
      details: { step: 'child', parent: snapshot },
    });
  }
});

test.for<[string, Partial<Action>, string]>([
  ['no source', { source: undefined as never }, 'source'],
  ['two sources', { source: { image: 'a', snapshot: 'b/c' } as never }, 'source'],
  ['an empty command', { command: '' }, 'command'],
  ['an argv without a program', { command: [] as never }, 'command'],
  ['a command with NUL', { command: 'a\0b' }, 'command'],
  ['a relative workdir', { workdir: 'src' }, 'workdir'],
  ['no time', { timeoutMs: 0 }, 'timeoutMs'],
  ['a variable with =', { env: { 'A=B': 'c' } }, 'env.A=B'],
  ['a variable that is secret and not', { env: { A: '1' }, secrets: { A: '2' } }, 'secrets.A'],
  ['a relative place to inject to', { inject: { from: '.', to: 'src' } }, 'inject'],
  ['limits of a snapshot', { source: { snapshot: 'a/b' }, limits: { cpus: 1 } }, 'limits'],
  ['too much output', { maxOutputBytes: 2 ** 40 }, 'maxOutputBytes'],
  ['something unknown', { comand: 'x' } as never, 'comand'],
])('%s is refused by name', async ([, wrong, field]) => {
  const bad = { ...action('true'), ...wrong };
  const error = await fixture.executor.execute(bad, kept).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'InvalidInput' });
  expect((error as { details: { field: string } }).details.field).toContain(field);
  expect(await calls()).toEqual([]);
});

test.for<[string, CachePolicy]>([
  ['an empty key', { cache: '' }],
  ['a key with a line feed', { cache: 'a\nb' }],
  ['the same to be refreshed', { cache: 'a\nb', mode: 'refresh' }],
  ['an unknown mode', { cache: 'k', mode: 'sometimes' as never }],
  ['no age', { cache: 'k', maxAgeMs: 0 }],
])('%s is refused', async ([, policy]) => {
  await expect(fixture.executor.execute(action(), policy)).rejects.toHaveProperty('code', 'InvalidInput');
  expect(await calls()).toEqual([]);
});

test('a machine that waits for room while those before it are destroyed gets it', async () => {
  const small = await openExecutorFixture({ vm: { limits: { vms: 1 } } });
  await using _small = small;
  for (const key of ['a', 'b', 'c'])
    expect(await small.executor.execute(action(), { cache: key })).toMatchObject({ exitCode: 0 });
});
