import { expect, test } from 'vitest';
import { entryOf, RegistryFixture } from '../../../test/executor/registry-fixture.ts';
import { Database } from '../../store/index.ts';

/** Notes what is prepared. */
class RecordingDatabase extends Database {
  readonly statements: string[] = [];
  override prepare(sql: string) {
    this.statements?.push(sql); // Not there yet while the base class opens.
    return super.prepare(sql);
  }
}

/** What each statement of a registry does to find its rows, by statement. */
function plans(): Map<string, string[]> {
  let database: RecordingDatabase | undefined;
  using fixture = new RegistryFixture({ maxEntries: 1 }, (path) => (database = new RecordingDatabase(path)));
  for (const key of ['a', 'b', 'c']) fixture.registry.put(entryOf(key), { nowMs: 0 });
  const statements = (database?.statements ?? []).filter(
    (sql) => /\bcache_/.test(sql) && /^\s*[SUDI]/.test(sql),
  );
  return new Map(
    statements
      .filter((sql) => !sql.startsWith('SAVEPOINT'))
      .map((sql) => [
        sql,
        fixture.database
          .prepare(`EXPLAIN QUERY PLAN ${sql}`)
          .all()
          .map(({ detail }) => String(detail)),
      ]),
  );
}

test('no statement looks at all rows of a large table, or sorts them', () => {
  const found = plans();
  expect(found.size).toBeGreaterThan(20);
  const slow = [...found].flatMap(([sql, steps]) =>
    steps
      .filter((step) => /^SCAN|TEMP B-TREE/.test(step) && !isFine(sql, step))
      .map((step) => `${step}: ${sql}`),
  );
  expect(slow).toEqual([]);
});

/** Exceptions, each for a reason. */
function isFine(sql: string, step: string): boolean {
  if (step === 'SCAN cache_totals') return true; // It has one row.
  // In the order of the rows, and no further than LIMIT.
  if (step === 'SCAN cache_inputs' && sql.endsWith('FROM cache_inputs  ORDER BY id DESC LIMIT ?'))
    return true;
  if (step === 'SCAN cache_history' && sql.includes('ORDER BY seq LIMIT ?')) return true;
  // Those with the prefix, by use.
  return step === 'USE TEMP B-TREE FOR ORDER BY' && sql.includes('key >= ? AND key < ?');
}

test('the next to evict is found among those that may go, by their order', () => {
  const [steps] = [...plans()].flatMap(([sql, steps]) =>
    sql.includes('children = 0 AND seq > ?') ? [steps] : [],
  );
  expect(steps).toEqual([
    'SEARCH u USING INDEX cache_usage_of_leaves (seq>?)',
    'SEARCH e USING INTEGER PRIMARY KEY (rowid=?)',
  ]);
});
