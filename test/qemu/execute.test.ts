import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Action, type Executor, openExecutor } from '../../src/executor/index.ts';
import { openImageStore } from '../../src/images/index.ts';
import { Database } from '../../src/store/index.ts';
import type { VmRuntime } from '../../src/vm/index.ts';
import { qemuPids } from './machine-fixture.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';

let fixture: RuntimeFixture;
let database: Database;
let runtime: VmRuntime;
let executor: Executor;
let folder: string;
beforeAll(async () => {
  fixture = await openRuntimeFixture();
  database = new Database(fixture.stateDir.databasePath);
  folder = mkdtempSync(join(tmpdir(), 'alcove-folder-'));
  runtime = await fixture.open();
  ({ executor } = await openExecutor({
    runtime,
    images: openImageStore({ stateDir: fixture.stateDir, database }),
    database,
    limits: { maxEntries: 64, maxBytes: 2 ** 40, reservedBytes: 0 },
    platform: { backend: 'qemu', architecture: 'x86_64' },
    random: randomBytes,
  }));
});
afterAll(async () => {
  await executor.close();
  await fixture.expectNothingUnlisted(runtime);
  await runtime.close();
  database.close();
  fixture.close();
  rmSync(folder, { recursive: true });
});

const action = (command: string, more: Partial<Action> = {}): Action => ({
  source: { image: 'builtin' },
  command,
  ...more,
});
const forever = { auto: 'forever' } as const;

test('what a command wrote is in what starts from its snapshot; the second time nothing runs', async () => {
  writeFileSync(join(folder, 'input'), 'from the host\n');
  const build = action('cat input > /root/out; date +%N >> /root/out; echo built', {
    inject: { from: folder, to: '/job' },
    workdir: '/job',
  });
  const first = await executor.execute(build, forever);
  expect(first).toMatchObject({ exitCode: 0, cached: false, stdout: 'built\n' });
  const second = await executor.execute(build, forever);
  expect(second).toMatchObject({ cached: true, snapshot: first.snapshot, stdout: 'built\n', key: first.key });
  const source = { snapshot: first.snapshot ?? 'none/none' } as const;
  const read = await executor.execute({ source, command: 'head -n 1 /root/out' }, forever);
  expect(read).toMatchObject({ exitCode: 0, stdout: 'from the host\n' });
  writeFileSync(join(folder, 'input'), 'changed\n');
  expect(await executor.explain(build, forever)).toMatchObject({
    verdict: 'miss',
    why: { reason: 'new' },
    nearest: { key: first.key, changes: [{ input: 'inject./job/input', change: 'changed' }] },
  });
});

test('an entry counts what its machine wrote, and not what it started with', async () => {
  const { key: small = '', snapshot = 'none/none' } = await executor.execute(
    action('dd if=/dev/urandom of=/root/a bs=1M count=3; sync'),
    forever,
  );
  const { key: child = '' } = await executor.execute(
    { source: { snapshot }, command: 'dd if=/dev/urandom of=/root/b bs=1M count=6; sync' },
    forever,
  );
  const sizeOf = async (key: string) => (await executor.cache.inspect(key)).sizeBytes / 2 ** 20;
  expect(await sizeOf(small)).toBeGreaterThan(3);
  expect(await sizeOf(small)).toBeLessThan(6);
  expect(await sizeOf(child)).toBeGreaterThan(6);
  expect(await sizeOf(child)).toBeLessThan(9);
});

test('with memory, a process that a command left behind goes on counting in what starts from its snapshot', async () => {
  const count = 'i=0; (while :; do i=$((i+1)); echo $i > /tmp/count; usleep 10000; done) >/dev/null 2>&1 & ';
  const first = await executor.execute(
    action(`${count} until [ -s /tmp/count ]; do usleep 1000; done`, { memory: true }),
  );
  const source = { snapshot: first.snapshot ?? 'none/none' } as const;
  const look =
    'a=$(cat /tmp/count); while [ "$(cat /tmp/count)" = "$a" ]; do usleep 1000; done; echo went on';
  expect(await executor.execute({ source, command: look, timeoutMs: 60_000 })).toMatchObject({
    exitCode: 0,
    stdout: 'went on\n',
  });
  // On disk alone nothing runs any more.
  const disk = await executor.execute(action(`${count} until [ -s /tmp/count ]; do usleep 1000; done`));
  const still = await executor.execute({
    source: { snapshot: disk.snapshot ?? 'none/none' },
    command: 'ps | grep -c [u]sleep',
  });
  expect(still.stdout).toBe('0\n');
});

test('a command that leaves a writer behind is snapshotted when nobody writes any more', async () => {
  const writer = '(while :; do echo x >> /root/log; done) & sleep 1; echo done';
  const { snapshot = 'none/none' } = await executor.execute(action(writer));
  const sizes = [1, 2].map(() => executor.execute({ source: { snapshot }, command: 'stat -c %s /root/log' }));
  const [one, two] = await Promise.all(sizes);
  expect(Number(one?.stdout)).toBeGreaterThan(0);
  expect(one?.stdout).toBe(two?.stdout);
});

test('a command that times out leaves no machine behind', async () => {
  const slow = action('echo begun; sleep 600 & wait', { timeoutMs: 1500 });
  await expect(executor.execute(slow, { cache: 'slow' })).rejects.toMatchObject({
    code: 'CommandTimedOut',
    details: { stdout: Buffer.from('begun\n') },
  });
  await executor.settled();
  expect(await runtime.list({ destroyed: 'leave-out' })).toEqual([]);
});

test('when QEMU of the one who runs it is killed, another caller takes over', async () => {
  const running = Promise.withResolvers<void>();
  const work = action('echo begun; [ -e /root/never ] || sleep 2; echo done');
  const options = { onStdout: () => running.resolve() };
  const calls = [options, {}, {}].map((given) =>
    executor.execute(work, { cache: 'killed' }, given).catch((error: Error) => error),
  );
  await running.promise;
  const [vm] = await runtime.list({ destroyed: 'leave-out' });
  for (const pid of qemuPids(vm?.id ?? 'none')) process.kill(pid, 'SIGKILL');
  const [first, ...others] = await Promise.all(calls);
  expect(first).toMatchObject({ code: 'VmFailed' });
  for (const result of others) expect(result).toMatchObject({ exitCode: 0, stdout: 'begun\ndone\n' });
});
