/**
 * Defects of earlier systems that must not come back, by the names that spec/sessions.md has for them. Those of commands (timeouts,
 * output) are the guest agent's on a real machine: test/conformance holds it to the same.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { zstdCompressSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import type { SessionOptions } from '../../src/sessions/index.ts';
import { hour, minute, openSessionsFixture, type SessionsFixture, settled } from './sessions-fixture.ts';

let fixture: SessionsFixture;
const open = async (options: Partial<SessionOptions> = {}, backups: 'yes' | 'no' = 'no') => {
  fixture = await openSessionsFixture({ options, backups });
};
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

const use = async (id: string, command = 'true') => {
  await using lease = await fixture.sessions.acquire(id);
  return await lease.exec(command);
};
const stopped = async (id: string, text: string) => {
  await use(id, `append notes ${text}`);
  await fixture.sessions.stop(id);
};
const notes = async (id: string) => (await use(id, 'cat notes')).stdout;
const status = async (id: string) => (await fixture.sessions.list()).find((info) => info.id === id)?.status;

/** Whether a command was handed to a guest that has these words. */
const begun = (words: string) =>
  fixture.vm.backend.log.some(({ call, about }) => call === 'exec' && about?.includes(words));

/** A directory for backups that the real store has. */
async function openWithDirectory(): Promise<string> {
  const destination = mkdtempSync(join(tmpdir(), 'alcove-backups-'));
  onTestFinished(() => rmSync(destination, { recursive: true }));
  await open({ backupDestination: destination });
  return destination;
}

test('overshoot of the limit', async () => {
  await open({ maxVms: 4 });
  let most = 0;
  const using = Array.from({ length: 16 }, async (_, index) => {
    await using lease = await fixture.sessions.acquire(`s${index}`, { waitMs: hour });
    most = Math.max(most, (await fixture.machines()).length);
    await lease.exec('true');
    await lease.release();
    await fixture.sessions.stop(`s${index}`);
  });
  await Promise.all(using);
  expect(most).toBe(4);
});

test('double creation and bootstrap', async () => {
  await open({ bootstrapCommand: ['prepare'] });
  let runs = 0;
  fixture.vm.backend.script('prepare', async (run) => {
    runs++;
    await run.sleep(1000);
    return 0;
  });
  const all = Promise.all(Array.from({ length: 8 }, () => use('s')));
  await expect.poll(() => runs).toBe(1);
  await fixture.clock.advance(1000);
  await all;
  expect(runs).toBe(1);
  expect(fixture.vm.backend.log.filter(({ call }) => call === 'create')).toHaveLength(1);
});

test('eviction or pruning under a running command', async () => {
  await open({ maxVms: 1, stopIdleForRoom: 'yes', idleShutdownMs: minute, pruneAfterMs: minute });
  await stopped('s', 'one');
  await fixture.clock.advance(minute - 1000); // Nearly pruned.
  const running = use('s', 'sleep 600 && append notes two');
  await expect.poll(() => begun('sleep 600')).toBe(true);
  await settled();
  await fixture.clock.advance(300_000);
  await expect(fixture.sessions.acquire('other')).rejects.toHaveProperty('code', 'AtCapacity');
  await fixture.clock.advance(300_000);
  expect(await running).toMatchObject({ exitCode: 0 });
  expect(await notes('s')).toBe('one\ntwo\n');
});

test.for(['leased', 'detached'] as const)('a long command taken for idle (%s)', async (kind) => {
  await open();
  const lease = await fixture.sessions.acquire('s');
  const long = 'sleep 7200 && append notes done';
  const command =
    kind === 'leased' ? lease.exec(long) : (await lease.spawn(long, { detachedId: 'd' })).exited;
  command.catch(() => undefined);
  if (kind === 'detached') await lease.release();
  for (let passed = 0; passed < 2 * hour; passed += 20 * minute) {
    expect(await status('s')).toBe('active');
    await fixture.clock.advance(20 * minute);
    await fixture.sessions.runMaintenanceNow();
  }
  await lease.release();
  expect(await notes('s')).toBe('done\n');
  await fixture.clock.advance(20 * minute);
  await expect.poll(() => status('s')).toBe('stopped');
});

test.for(['backup.snapshotted', 'backup.reading', 'backup.written'] as const)(
  'backup marked done before it is made (the engine dies at %s)',
  async (step) => {
    await open({}, 'yes');
    await stopped('s', 'one');
    const reached = fixture.standAt(step);
    void fixture.sessions.backup('s');
    await reached;
    await fixture.crash();
    expect(await fixture.sessions.inspect('s')).toMatchObject({ state: 'not backed up' });
    expect(await fixture.vm.runtime.snapshots.list()).toEqual([]);
    expect(await fixture.vm.runtime.list({ destroyed: 'leave-out' })).toHaveLength(1);
    await fixture.clock.advance(hour);
    await expect.poll(() => status('s')).toBe('removed');
    expect(await notes('s')).toBe('one\n');
  },
);

test('backup never retried', async () => {
  await open({ backupAfterMs: minute }, 'yes');
  await stopped('s', 'one');
  fixture.place.failures.push(new Error('full'), new Error('full'));
  const rounds: string[] = [];
  while (rounds.length < 5) {
    await fixture.clock.advance(minute);
    const { backedUp, failed } = await fixture.sessions.runMaintenanceNow();
    rounds.push(...failed.map(({ message }) => message), ...backedUp);
    if (backedUp.length > 0) break;
  }
  expect(rounds).toEqual(['full', 'full', 's']);
});

test('backup never made again', async () => {
  await open({ backupAfterMs: minute }, 'yes');
  for (const [index, text] of ['one', 'two', 'three'].entries()) {
    await stopped('s', text);
    await fixture.clock.advance(5 * minute);
    await expect.poll(() => fixture.place.kept.length).toBe(index + 1);
  }
});

test('backup skipped by eviction', async () => {
  await open({ maxVms: 1 }, 'yes');
  await stopped('s', 'one');
  await use('other');
  expect(await status('s')).toBe('removed');
  await fixture.sessions.stop('other');
  expect(await notes('s')).toBe('one\n');
});

test('torn archive under its final name', async () => {
  const destination = await openWithDirectory();
  await stopped('s', 'one');
  const files = () => readdirSync(destination).filter((name) => !name.startsWith('.'));
  fixture.vm.backend.script('fill', (run) => {
    for (let file = 0; file < 50; file++) run.files.write(`/work/${file}`, 'x'.repeat(10_000));
    return 0;
  });
  await use('s', 'true');
  const reached = fixture.standAt('backup.reading');
  void fixture.sessions.backup('s');
  await reached;
  expect(files()).toEqual([]);
  await fixture.crash();
  expect(files()).toEqual([]);
  const { name } = await fixture.sessions.backup('s');
  expect(files().sort()).toEqual([name.replace('.tar.zst', '.json'), name].sort());
  expect(await fixture.sessions.backups.verify(name)).toMatchObject({ name });
});

test('symlink followed into the host', async () => {
  const destination = await openWithDirectory();
  const outside = mkdtempSync(join(tmpdir(), 'alcove-outside-'));
  onTestFinished(() => rmSync(outside, { recursive: true }));
  const tar = pack();
  tar.entry({ name: './', type: 'directory' });
  tar.entry({ name: './way', type: 'symlink', linkname: outside });
  tar.entry({ name: './way/in' }, 'x');
  tar.finalize();
  const archive = join(destination, 'made-by-hand.tar.zst');
  writeFileSync(archive, zstdCompressSync(await buffer(tar)));
  await use('s', 'append notes one');
  await expect(fixture.sessions.restore('s', { from: archive })).rejects.toHaveProperty(
    'code',
    'BackupInvalid',
  );
  expect(readdirSync(outside)).toEqual([]);
  expect(await notes('s')).toBe('one\n');
});

test('no restore at all', async () => {
  await openWithDirectory();
  await use('s', 'append notes one');
  const { name, path } = await fixture.sessions.backup('s');
  await use('s', 'append notes two');
  await fixture.sessions.restore('s', { from: name });
  expect(await notes('s')).toBe('one\n');
  await fixture.sessions.restore('copy', { from: path });
  expect(await notes('copy')).toBe('one\n');
});

test.for(['reopen', 'crash'] as const)('ages and sessions forgotten on restart (%s)', async (how) => {
  await open();
  await stopped('old', 'one');
  await fixture.clock.advance(30 * minute);
  await stopped('new', 'two');
  await fixture[how]();
  expect((await fixture.sessions.list()).map(({ id, status }) => [id, status])).toEqual([
    ['new', 'stopped'],
    ['old', 'stopped'],
  ]);
  await fixture.clock.advance(30 * minute);
  await expect.poll(() => status('old')).toBeUndefined();
  expect(await notes('new')).toBe('two\n');
});

test('silent fallback to an empty folder', async () => {
  await open({}, 'yes');
  await stopped('s', 'one');
  await fixture.clock.advance(hour);
  await expect.poll(() => status('s')).toBe('removed');
  const [kept] = fixture.place.kept;
  fixture.place.drop(kept?.info.name ?? '');
  await expect(fixture.sessions.acquire('s')).rejects.toHaveProperty('code', 'BackupNotFound');
  fixture.place.state = 'gone';
  for (const id of ['s', 'new'])
    await expect(fixture.sessions.acquire(id)).rejects.toHaveProperty('code', 'BackupFailed');
  fixture.vm.images.drop('builtin');
  fixture.place.state = 'mounted';
  await expect(fixture.sessions.acquire('new')).rejects.toHaveProperty('code', 'ImageNotFound');
  expect(await fixture.machines()).toEqual([]);
});

test('timeout that kills the shell and waits for its children', async () => {
  await open();
  fixture.vm.backend.script('child', { hang: 'until-killed' });
  fixture.vm.backend.script('/bin/sh -lc spawn a child', async (run) => {
    run.fork('child');
    await run.print('begun\n');
    await run.sleep(hour);
    return 0;
  });
  await using lease = await fixture.sessions.acquire('s');
  const done = lease.exec('spawn a child', { timeoutMs: 1000, background: 'keep' });
  done.catch(() => undefined);
  await expect.poll(() => begun('spawn a child')).toBe(true);
  await settled();
  await fixture.clock.advance(1000);
  await expect(done).rejects.toMatchObject({
    code: 'CommandTimedOut',
    details: { stdout: Buffer.from('begun\n') },
  });
  const { stdout } = await lease.vm.exec({ command: 'ps' });
  expect(stdout).not.toMatch(/child/);
});

test('output dropped on failure', async () => {
  await open({ bootstrapCommand: ['prepare'] });
  fixture.vm.backend.script('prepare', { stdout: 'half way\n', stderr: 'no network\n', exitCode: 1 });
  await expect(fixture.sessions.acquire('s')).rejects.toMatchObject({
    code: 'BootstrapFailed',
    message: expect.stringMatching(/half way\nno network$/),
  });
  fixture.vm.backend.script('prepare', { exitCode: 0 });
  expect(await use('s', 'echo so far && exit 9')).toMatchObject({ exitCode: 9, stdout: 'so far\n' });
});

test('whole output in memory', async () => {
  await open({ bootstrapCommand: ['prepare'] });
  const flood = async (run: { print(data: string): Promise<void> }) => {
    for (let line = 0; line < 2000; line++) await run.print(`${line}`.padEnd(1023, '.').concat('\n'));
    return 0;
  };
  fixture.vm.backend.script('prepare', flood);
  fixture.vm.backend.script('/bin/sh -lc flood', flood);
  const { stdout, truncated, droppedBytes } = await use('s', 'flood');
  expect(truncated).toBe(true);
  expect(droppedBytes).toBeGreaterThan(900_000);
  expect(stdout.length).toBeLessThan(1_100_000);
  const { bootstrap } = await fixture.sessions.inspect('s');
  expect(bootstrap?.stdout.length).toBeLessThan(40_000);
  expect(bootstrap?.stdout).toMatch(/^0\.[\s\S]*1999\.+\n$/u);
});

test('host environment leaking in', async () => {
  process.env.ALCOVE_TEST_SECRET = 'of the host';
  onTestFinished(() => void delete process.env.ALCOVE_TEST_SECRET);
  await open({ env: { GIVEN: 'yes' } });
  const names = (await use('s', 'env')).stdout.split('\n').map((line) => line.split('=')[0]);
  expect(names.sort()).toEqual(['', 'FROM_IMAGE', 'GIVEN', 'HOME', 'LANG', 'PATH', 'USER']);
});

test('profile environment prepared and not used', async () => {
  await open({ nixProfile: 'github:somebody/tools' });
  fixture.vm.backend.script(
    ({ command }) => command[0] === 'nix',
    async (run) => {
      await run.print(run.argv.join('|'));
      return 0;
    },
  );
  const inside = 'nix|develop|github:somebody/tools|--command|/bin/sh|-lc|make';
  expect((await use('s', 'make')).stdout).toBe(inside);
  await using lease = await fixture.sessions.acquire('s');
  const { stdout } = await lease.spawn('make');
  expect((await buffer(stdout)).toString()).toBe(inside);
});
