import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeTar } from '../images/make-tar.ts';
import {
  type BackupFixture,
  backupFixture,
  chunksOf,
  facts,
  makeTree,
  openBelow,
  readAll,
  roomy,
  run,
  smallTar,
} from './backup-fixture.ts';
import { raw, tarOf } from './raw-tar.ts';

let fixture: BackupFixture;
beforeEach(() => {
  fixture = backupFixture();
});
afterEach(() => fixture.end());

test('a backup is a plain tar that `tar --zstd` reads, private, with a manifest beside it', async () => {
  const tar = smallTar('content');
  const info = await fixture.write('s', tar);
  expect(fixture.names()).toEqual(['s-20300102T030405Z.json', 's-20300102T030405Z.tar.zst']);
  const bytes = readFileSync(info.path);
  const manifest = {
    format: 1,
    sessionId: 's',
    createdAtMs: fixture.clock.now(),
    digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`,
    fileBytes: bytes.length,
    tarBytes: tar.length,
    contentBytes: 7,
    entries: { files: 1, directories: 1, symlinks: 0, hardLinks: 0, others: 0 },
    ...facts,
  };
  expect(info).toEqual({
    name: 's-20300102T030405Z.tar.zst',
    path: join(fixture.destination, 's-20300102T030405Z.tar.zst'),
    sessionId: 's',
    createdAtMs: fixture.clock.now(),
    fileBytes: bytes.length,
    manifest,
  });
  expect(JSON.parse(readFileSync(join(fixture.destination, 's-20300102T030405Z.json'), 'utf8'))).toEqual(
    manifest,
  );
  for (const name of ['', 's-20300102T030405Z.json', 's-20300102T030405Z.tar.zst']) {
    expect(statSync(join(fixture.destination, name)).mode & 0o077).toBe(0);
  }
  expect(run('tar', ['--zstd', '--list', '--file', info.path]).toString()).toBe('./\n./file\n');
  expect(run('tar', ['--zstd', '--extract', '--to-stdout', '--file', info.path, './file']).toString()).toBe(
    'content',
  );
  run('zstd', ['--test', '-q', info.path]);
});

test('a tree that GNU tar packed is counted, verified and given back byte by byte', async () => {
  const tree = join(fixture.dir, 'tree');
  mkdirSync(tree);
  makeTree(tree);
  const tar = run('tar', ['--create', '--format=pax', '--sparse', '-C', tree, '.']);
  const info = await fixture.write('s', tar);
  expect(info.manifest?.entries).toEqual({ files: 4, directories: 3, symlinks: 2, hardLinks: 1, others: 1 });
  expect(info.manifest?.contentBytes).toBe(700 + 8 + 9 + (3 << 20));
  const verified = await fixture.store.verify(info.name, roomy);
  expect(verified).toMatchObject({ info, path: info.path, digest: info.manifest?.digest });
  for (let times = 0; times < 2; times++) expect((await readAll(verified.tar())).equals(tar)).toBe(true);
});

describe('names', () => {
  test('two backups of one second do not overwrite each other, in whatever order they end', async () => {
    const tars = Array.from({ length: 6 }, (_, index) => smallTar(`content ${index}`));
    const infos = await Promise.all(tars.map((tar) => fixture.write('s', tar)));
    expect(new Set(infos.map(({ name }) => name)).size).toBe(6);
    expect((await fixture.store.list()).map(({ name }) => name)).toEqual([
      ...[6, 5, 4, 3, 2].map((sequence) => `s-20300102T030405Z-${sequence}.tar.zst`),
      's-20300102T030405Z.tar.zst',
    ]);
    for (const [index, { name }] of infos.entries()) {
      const { tar } = await fixture.store.verify(name, roomy);
      expect((await readAll(tar())).equals(tars[index] ?? Buffer.alloc(0))).toBe(true);
    }
    expect(fixture.names()).toHaveLength(12);
  });

  test('of a clock that was set back, the newest backup stays the newest', async () => {
    await fixture.write('s');
    fixture.setClock(fixture.clock.now() - 3_600_000);
    const back = fixture.store;
    const tar = smallTar('later');
    const info = await back.write({ sessionId: 's', tar: chunksOf(tar), usedBytes: 1, facts });
    expect(info.name).toBe('s-20300102T030405Z-2.tar.zst');
    expect(info.createdAtMs).toBe(Date.UTC(2030, 0, 2, 2, 4, 5, 678));
    expect((await back.list({ sessionId: 's' }))[0]?.name).toBe(info.name);
    expect((await back.write({ sessionId: 'other', tar: chunksOf(tar), usedBytes: 1, facts })).name).toBe(
      'other-20300102T020405Z.tar.zst',
    );
  });

  test('a name that was freed between others is not used again', async () => {
    const infos = [await fixture.write('s'), await fixture.write('s'), await fixture.write('s')];
    await fixture.store.remove(infos[1]?.name ?? '');
    expect((await fixture.write('s')).name).toBe('s-20300102T030405Z-4.tar.zst');
  });

  test.each(['', '..', 'a/b', 'S', '-s', 's'.repeat(64)])(
    '%j is no session whose backup is written',
    async (id) => {
      await expect(fixture.write(id)).rejects.toMatchObject({ code: 'InvalidInput' });
      expect(existsSync(fixture.destination)).toBe(false);
    },
  );
});

describe('the destination', () => {
  test('is made with the folders on the way to it, for the owner alone', async () => {
    const store = fixture.other({ destination: join(fixture.dir, 'a/b/c') });
    await store.write({ sessionId: 's', tar: chunksOf(smallTar('')), usedBytes: 1, facts });
    for (const made of ['a', 'a/b', 'a/b/c'])
      expect(statSync(join(fixture.dir, made)).mode & 0o777).toBe(0o700);
  });

  test('may be a symlink, and keeps the mode it has', async () => {
    mkdirSync(join(fixture.dir, 'real'));
    chmodSync(join(fixture.dir, 'real'), 0o755);
    symlinkSync('real', fixture.destination);
    const info = await fixture.write('s');
    expect(existsSync(join(fixture.dir, 'real', info.name))).toBe(true);
    expect(statSync(join(fixture.dir, 'real')).mode & 0o777).toBe(0o755);
    expect((await fixture.store.verify(info.name, roomy)).info).toEqual(info);
  });

  test('is not held open', async () => {
    await fixture.write('s');
    await fixture.write('s', Buffer.from('no tar')).catch(() => {});
    for (const { name } of await fixture.store.list()) await fixture.store.remove(name);
    expect(openBelow(fixture.dir)).toEqual([]);
  });
});

describe('a backup that could not be restored is not made', () => {
  test.each([
    ['that is cut short', smallTar('x').subarray(0, 1_500), 'the tar is cut short', {}],
    ['with a device', tarOf(raw({ name: 'null', type: '3' })), 'the tar has a device', { entry: 'null' }],
    ['that is none', Buffer.alloc(600, 'x'), 'checksum', {}],
  ])('of a tar %s', async (_what, tar, why, details) => {
    await expect(fixture.write('s', tar)).rejects.toMatchObject({
      code: 'BackupFailed',
      message: expect.stringContaining(why),
      details,
    });
    expect(fixture.names()).toEqual([]);
  });
});

test('100 000 small files are counted', async () => {
  const entries = Array.from({ length: 100_000 }, (_, index) => ({
    name: `./${index % 317}/${index}`,
    data: 'x',
  }));
  const info = await fixture.write('s', makeTar(entries));
  expect(info.manifest?.entries.files).toBe(100_000);
  await expect(fixture.store.verify(info.name, { ...roomy, entries: 99_999 })).rejects.toMatchObject({
    details: { problem: 'too large' },
  });
  await fixture.store.verify(info.name, { ...roomy, entries: 100_000 });
});

test('no more of the source is asked for than can be written', async () => {
  const total = 48 << 20;
  let ahead = 0;
  const tar = (async function* () {
    yield raw({ size: total });
    for (let given = 0; given < total; given += 1 << 20) {
      const temporary = fixture.names().find((name) => name.endsWith('.tar.zst')) ?? '';
      ahead = Math.max(ahead, given - statSync(join(fixture.destination, temporary)).size);
      yield randomBytes(1 << 20); // Nothing makes these smaller.
    }
    yield Buffer.alloc(1024);
  })();
  await fixture.store.write({ sessionId: 's', tar, usedBytes: 1, facts });
  expect(ahead).toBeLessThan(8 << 20);
});
