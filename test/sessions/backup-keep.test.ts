import { existsSync, linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openBackupStore } from '../../src/sessions/backup/open-backup-store.ts';
import { type BackupFixture, backupFixture, chunksOf, facts, run, smallTar } from './backup-fixture.ts';

let fixture: BackupFixture;
beforeEach(() => {
  fixture = backupFixture();
});
afterEach(() => fixture.end());

const namesOf = (infos: readonly { name: string }[]) => infos.map(({ name }) => name);

test('a destination that is not there has no backups, and is not made by looking', async () => {
  expect(await fixture.store.list()).toEqual([]);
  await fixture.store.sweep();
  await expect(fixture.store.remove('s-20300102T030405Z.tar.zst')).rejects.toMatchObject({
    code: 'BackupNotFound',
  });
  expect(existsSync(fixture.destination)).toBe(false);
  expect(fixture.warnings).toEqual([]);
});

test('backups are listed newest first, of all sessions or of one; nothing else is', async () => {
  const first = await fixture.write('s');
  fixture.setClock(fixture.clock.now() + 1_000);
  const other = await fixture.write('t');
  fixture.setClock(fixture.clock.now() + 1_000);
  const last = await fixture.write('s');
  for (const name of ['notes.txt', 's.tar.zst', '.alcove-own-00.tar.zst', 's-2.json']) {
    writeFileSync(join(fixture.destination, name), '');
  }
  expect(await fixture.store.list()).toEqual([last, other, first]);
  expect(await fixture.store.list({ sessionId: 's' })).toEqual([last, first]);
  expect(await fixture.store.list({ sessionId: '../s' })).toEqual([]);
  expect(await fixture.store.find(first.name)).toEqual(first);
  expect(await fixture.store.find(`../backups/${first.name}`)).toBeUndefined();
});

test('more backups than are looked at together are listed in order', async () => {
  mkdirSync(fixture.destination);
  const names = Array.from(
    { length: 75 },
    (_, at) => `s-20300102T0304${String(at % 60).padStart(2, '0')}Z${at < 60 ? '' : '-2'}.tar.zst`,
  );
  for (const name of names) writeFileSync(join(fixture.destination, name), '');
  const listed = namesOf(await fixture.store.list());
  expect(listed).toHaveLength(75);
  expect(listed[0]).toBe('s-20300102T030459Z.tar.zst');
  expect(listed.slice(-2)).toEqual(['s-20300102T030400Z-2.tar.zst', 's-20300102T030400Z.tar.zst']);
});

test('a destination that cannot be read is said to be so, not empty', async () => {
  symlinkSync(fixture.destination, fixture.destination);
  await expect(fixture.store.list()).rejects.toMatchObject({
    code: 'BackupFailed',
    details: { errno: 'ELOOP' },
  });
});

describe('removing', () => {
  test('takes the manifest too, and leaves the others', async () => {
    const first = await fixture.write('s');
    const second = await fixture.write('s');
    await fixture.store.remove(first.name);
    expect(fixture.names()).toEqual(['s-20300102T030405Z-2.json', second.name]);
    await expect(fixture.store.remove(first.name)).rejects.toMatchObject({ code: 'BackupNotFound' });
  });

  test.each(['../precious', 'precious', '../s-20300102T030405Z.tar.zst', '/etc/passwd', ''])(
    '%j is no backup',
    async (name) => {
      await fixture.write('s');
      for (const path of ['precious', 's-20300102T030405Z.tar.zst', 'backups/precious']) {
        writeFileSync(join(fixture.dir, path), 'mine');
      }
      await expect(fixture.store.remove(name)).rejects.toMatchObject({ code: 'BackupNotFound' });
      for (const path of ['precious', 's-20300102T030405Z.tar.zst', 'backups/precious']) {
        expect(readFileSync(join(fixture.dir, path), 'utf8')).toBe('mine');
      }
    },
  );
});

describe('sweeping', () => {
  const put = (name: string, text = 'half') => {
    mkdirSync(fixture.destination, { recursive: true });
    writeFileSync(join(fixture.destination, name), text);
  };

  test('removes the temporary files of its own state directory, and no others', async () => {
    const { name } = await fixture.write('s');
    put('.alcove-own-0101.tar.zst');
    put('.alcove-own-0101.json');
    const others = [
      '.alcove-owner-01.tar.zst',
      '.alcove-ow-01.json',
      '.alcove-other-own-1',
      'own',
      '.hidden',
      'x.json',
      't-20300102T030405Z.json',
    ];
    for (const other of others) put(other, 'mine');
    await fixture.store.sweep();
    expect(fixture.names()).toEqual([...others, name, name.replace('.tar.zst', '.json')].sort());
  });

  test('a manifest that was named when its engine died goes, with its name', async () => {
    put('.alcove-own-01.json', 'manifest');
    put('.alcove-own-01.tar.zst');
    linkSync(
      join(fixture.destination, '.alcove-own-01.json'),
      join(fixture.destination, 's-20300102T030405Z.json'),
    );
    run('mkfifo', [join(fixture.destination, 'fifo.json')]);
    await fixture.store.sweep();
    expect(fixture.names()).toEqual(['fifo.json']);
    expect((await fixture.write('s')).name).toBe('s-20300102T030405Z.tar.zst');
  });

  test('a backup that was named when its engine died stays', async () => {
    const { name, manifest } = await fixture.write('s');
    linkSync(join(fixture.destination, name), join(fixture.destination, '.alcove-own-01.tar.zst'));
    linkSync(
      join(fixture.destination, 's-20300102T030405Z.json'),
      join(fixture.destination, '.alcove-own-01.json'),
    );
    await fixture.store.sweep();
    expect(fixture.names()).toEqual(['s-20300102T030405Z.json', name]);
    expect((await fixture.store.find(name))?.manifest).toEqual(manifest);
  });

  test('what cannot be removed is told, and does not keep the rest', async () => {
    put('.alcove-own-01.tar.zst');
    mkdirSync(join(fixture.destination, '.alcove-own-00'));
    await fixture.store.sweep();
    expect(fixture.names()).toEqual(['.alcove-own-00']);
    expect(fixture.warnings).toEqual([expect.stringContaining('.alcove-own-00')]);
  });
});

test('two engines may write into one destination', async () => {
  const other = fixture.other({ owner: 'else' });
  const tar = smallTar('x');
  const infos = await Promise.all([
    fixture.write('s'),
    other.write({ sessionId: 's', tar: chunksOf(tar), usedBytes: 1, facts }),
  ]);
  expect(infos[0].name).not.toBe(infos[1].name);
  expect(await fixture.store.list()).toHaveLength(2);
});

test.each(['', 'a-b', 'A', '../x', 'a'.repeat(33)])('%j is no owner', (owner) => {
  const options = {
    destination: fixture.destination,
    clock: fixture.clock,
    random: Buffer.alloc,
    warn: () => {},
  };
  expect(() => openBackupStore({ ...options, owner })).toThrow(
    expect.objectContaining({ code: 'InvalidInput' }),
  );
});
