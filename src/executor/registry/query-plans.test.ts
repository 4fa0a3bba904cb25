import { expect, test } from 'vitest';
import { RegistryFixture } from '../../../test/executor/registry-fixture.ts';
import { Database } from '../../store/index.ts';

/** Notes what is prepared. */
class RecordingDatabase extends Database {
  readonly statements: string[] = [];
  override prepare(sql: string) {
    this.statements?.push(sql); // Not there yet while the base class opens.
    return super.prepare(sql);
  }
}

/** What each statement of a registry and of its triggers does to find its rows, by statement. */
function plans(): Map<string, string[]> {
  let recording: RecordingDatabase | undefined;
  using fixture = new RegistryFixture({}, (path) => (recording = new RecordingDatabase(path)));
  const { database } = fixture;
  const prepared = (recording?.statements ?? []).filter((sql) =>
    /^(SELECT|INSERT|UPDATE|DELETE)\b.*\bcache_/s.test(sql),
  );
  const explain = (sql: string) =>
    database
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map(({ detail }) => String(detail));
  return new Map([...prepared, ...triggered(database)].map((sql) => [sql, explain(sql)]));
}

function triggered(database: Database): string[] {
  const triggers = database.prepare("SELECT sql FROM sqlite_master WHERE type = 'trigger'").all();
  return triggers.flatMap(({ sql }) => {
    const body = /\bBEGIN\b(.*)\bEND$/s.exec(String(sql))?.[1] ?? '';
    const statements = body.replaceAll(/\b(NEW|OLD)\.\w+/g, '?').split(';');
    return statements.map((statement) => statement.trim()).filter((statement) => statement !== '');
  });
}

test('no statement looks at all rows of a large table, or sorts them', () => {
  const found = plans();
  expect(found.size).toBeGreaterThan(30);
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
