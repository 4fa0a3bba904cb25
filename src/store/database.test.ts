import { spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Database } from './database.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'alcove-database-'));
  path = join(dir, 'test.db');
});
afterEach(() => rmSync(dir, { recursive: true }));

const pets = ['CREATE TABLE pets (name TEXT NOT NULL) STRICT', "INSERT INTO pets VALUES ('cat')"];
const names = (database: Database) =>
  database
    .prepare('SELECT name FROM pets')
    .all()
    .map(({ name }) => name);

describe('migrations', () => {
  test('each step runs once, in order, over any number of openings', () => {
    for (let time = 0; time < 2; time++) {
      using database = new Database(path);
      database.migrate('pets', pets);
      expect(names(database)).toEqual(['cat']);
    }
    using database = new Database(path);
    database.migrate('pets', [...pets, "INSERT INTO pets VALUES ('dog')"]);
    expect(names(database)).toEqual(['cat', 'dog']);
  });

  test('modules do not know of each other', () => {
    using database = new Database(path);
    database.migrate('pets', pets);
    database.migrate('plants', ['CREATE TABLE plants (name TEXT) STRICT']);
    expect(database.prepare('SELECT * FROM plants').all()).toEqual([]);
  });

  test('a step that fails leaves everything as it was', () => {
    using database = new Database(path);
    expect(() => database.migrate('pets', [...pets, 'INSERT INTO nothing VALUES (1)'])).toThrow('nothing');
    expect(() => names(database)).toThrow('no such table');
    database.migrate('pets', pets);
    expect(names(database)).toEqual(['cat']);
  });

  test('a database of a newer Alcove is refused', () => {
    using database = new Database(path);
    database.migrate('pets', pets);
    expect(() => database.migrate('pets', pets.slice(0, 1))).toThrowError(
      expect.objectContaining({ code: 'StateCorrupt', message: expect.stringContaining('newer Alcove') }),
    );
  });
});

describe('transactions', () => {
  test('all of one is there after a reopening, or none of it', () => {
    {
      using database = new Database(path);
      database.migrate('pets', pets);
      expect(database.transact(() => database.prepare("INSERT INTO pets VALUES ('dog')").run().changes)).toBe(
        1,
      );
      const failing = () =>
        database.transact(() => {
          database.prepare("INSERT INTO pets VALUES ('fish')").run();
          throw new Error('changed my mind');
        });
      expect(failing).toThrow('changed my mind');
    }
    using database = new Database(path);
    expect(names(database)).toEqual(['cat', 'dog']);
  });

  test('one inside another is part of it', () => {
    using database = new Database(path);
    database.migrate('pets', pets);
    const nested = () =>
      database.transact(() => {
        database.transact(() => database.prepare("INSERT INTO pets VALUES ('dog')").run());
        throw new Error('outer');
      });
    expect(nested).toThrow('outer');
    expect(names(database)).toEqual(['cat']);
    database.transact(() => database.prepare("INSERT INTO pets VALUES ('fish')").run());
    expect(names(database)).toEqual(['cat', 'fish']);
  });
});

test('writes survive power loss as SQLite promises it: a write-ahead log, synced at every commit', () => {
  using database = new Database(path);
  expect(database.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
  expect(database.prepare('PRAGMA synchronous').get()).toEqual({ synchronous: 2 });
});

describe('a transaction that need not survive power loss', () => {
  const synchronous = (database: Database) => database.prepare('PRAGMA synchronous').get()?.synchronous;
  const [normal, full] = [1, 2];
  let database: Database;
  let insert: (name: string) => unknown;
  beforeEach(() => {
    database = new Database(path);
    database.migrate('pets', pets);
    const statement = database.prepare('INSERT INTO pets VALUES (?)');
    insert = (name) => statement.run(name);
  });
  afterEach(() => database.close());

  test('is not synced, and those after it are', () => {
    const seen = database.transact(
      () => {
        insert('dog');
        return synchronous(database);
      },
      { durability: 'process' },
    );
    expect(seen).toBe(normal);
    expect(database.transact(() => synchronous(database))).toBe(full);
    expect(names(database)).toEqual(['cat', 'dog']);
  });

  test('that fails is taken back, and those after it are synced', () => {
    const failing = () =>
      database.transact(
        () => {
          insert('dog');
          throw new Error('changed my mind');
        },
        { durability: 'process' },
      );
    expect(failing).toThrow('changed my mind');
    expect(names(database)).toEqual(['cat']);
    expect(synchronous(database)).toBe(full);
  });

  test('inside another is as durable as that one', () => {
    const inside = database.transact(() =>
      database.transact(() => synchronous(database), { durability: 'process' }),
    );
    expect(inside).toBe(full);
    expect(synchronous(database)).toBe(full);
  });

  test('is synced all the same when one inside it must survive', () => {
    const framesOf = (work: () => void) => {
      const before = statSync(`${path}-wal`).size;
      database.transact(work, { durability: 'process' });
      return (statSync(`${path}-wal`).size - before) / (4096 + 24);
    };
    expect(framesOf(() => insert('dog'))).toBe(1);
    // The second frame is that of the commit that syncs both.
    expect(framesOf(() => database.transact(() => insert('fish')))).toBe(2);
    expect(framesOf(() => insert('bird'))).toBe(1);
    expect(synchronous(database)).toBe(full);
    expect(names(database)).toEqual(['cat', 'dog', 'fish', 'bird']);
  });

  test('is there when the process ends right after it', () => {
    const program = `
      const { Database } = await import(${JSON.stringify(new URL('./database.ts', import.meta.url).href)});
      const database = new Database(${JSON.stringify(path)});
      const insert = database.prepare('INSERT INTO pets VALUES (?)');
      database.transact(() => insert.run('dog'), { durability: 'process' });
      process.kill(process.pid, 'SIGKILL');
    `;
    const { signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program]);
    expect(signal).toBe('SIGKILL');
    expect(names(database)).toEqual(['cat', 'dog']);
  });
});

test('a disk without room is unusable, and what was there stays', () => {
  using database = new Database(path);
  database.migrate('pets', pets);
  database.prepare('PRAGMA max_page_count = 1').get(); // SQLite takes it for as many as there are.
  const insert = database.prepare('INSERT INTO pets VALUES (?)');
  const full = expect.objectContaining({ code: 'StateUnusable', message: expect.stringContaining(path) });
  expect(() => insert.run('x'.repeat(100_000))).toThrowError(full);
  expect(() => database.transact(() => insert.run('x'.repeat(100_000)))).toThrowError(full);
  expect(names(database)).toEqual(['cat']);
});

test('a path that cannot be opened is unusable, and says which', () => {
  expect(() => new Database(join(dir, 'nowhere', 'test.db'))).toThrowError(
    expect.objectContaining({ code: 'StateUnusable', message: expect.stringContaining('nowhere') }),
  );
});

test('a file that is no database is corrupt', () => {
  writeFileSync(path, 'not a database, and long enough to be told apart from an empty one\n'.repeat(20));
  expect(() => new Database(path)).toThrowError(expect.objectContaining({ code: 'StateCorrupt' }));
  appendFileSync(path, 'still not');
});

test('closing twice does no harm', () => {
  const database = new Database(path);
  database.close();
  database.close();
});
