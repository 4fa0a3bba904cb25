import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
