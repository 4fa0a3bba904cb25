import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { Database } from './database.ts';

// Node 22.15 has neither `DatabaseSync.isTransaction` nor the option `timeout`; both came with 22.16.
vi.mock(import('node:sqlite'), async (original) => {
  const real = await original();
  class Oldest {
    constructor(path: string) {
      // biome-ignore lint/correctness/noConstructorReturn: stands in for a native class, whose properties cannot be removed.
      return new Proxy(new real.DatabaseSync(path), {
        get(database, name) {
          if (name === 'isTransaction') return undefined;
          const value: unknown = Reflect.get(database, name, database);
          return typeof value === 'function' ? value.bind(database) : value;
        },
      });
    }
  }
  return { ...real, DatabaseSync: Oldest as unknown as typeof real.DatabaseSync };
});

test('on the oldest Node a transaction that fails is taken back, and a lock is waited for', () => {
  const dir = mkdtempSync(join(tmpdir(), 'alcove-database-'));
  try {
    using database = new Database(join(dir, 'test.db'));
    database.migrate('pets', ['CREATE TABLE pets (name TEXT NOT NULL) STRICT']);
    const insert = database.prepare('INSERT INTO pets VALUES (?)');
    const failing = () =>
      database.transact(() => {
        insert.run('dog');
        throw new Error('changed my mind');
      });
    expect(failing).toThrow('changed my mind');
    database.transact(() => insert.run('cat'));
    expect(database.prepare('SELECT name FROM pets').all()).toMatchObject([{ name: 'cat' }]);
    expect(database.prepare('PRAGMA busy_timeout').get()).toMatchObject({ timeout: 5000 });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
