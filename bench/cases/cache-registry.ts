import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type NewEntry, Registry } from '../../src/executor/registry/index.ts';
import { Database } from '../../src/store/index.ts';
import type { Case, Contender, Readings, Row } from '../measure.ts';
import { quantile } from '../results.ts';

const sizes = { '100 entries': 1e2, '10,000 entries': 1e4, '1,000,000 entries': 1e6 } as const;
const bare = 'bare SQLite, SELECT and UPDATE by rowid in the same file';
/** How many of each a turn has: of fewer, the hundredth slowest would be the slowest. */
const gets = 2000;
const puts = 200;
const together = 50;

/** The map from keys to snapshots by itself. Each is full, and the half that was used longest ago are parents, which must stay. */
export const cacheRegistry: Case = {
  title: 'cache registry',
  rounds: 3,
  rows: [
    row('registry get', 'get', { withBare: true }),
    row('registry get, p99', 'get p99', { withBare: true, atMost: 1000 }),
    row('registry get, one after the other: each', 'each get', { withBare: true, atMost: 200 }),
    row('registry put that evicts, synced to disk', 'put', { withBare: true }),
    row('registry put that evicts, synced to disk, p99', 'put p99', { withBare: true }),
    row(`registry put that evicts, ${together} in one transaction: each`, 'each put'),
    row(`registry eviction, ${together} in one transaction: each`, 'each eviction'),
  ],
  async prepare(world, owned) {
    const contenders = Object.entries(sizes).flatMap(([name, entries]): Contender[] => {
      const path = join(world.workDir, `registry-${entries}.db`);
      owned.defer(() => {
        for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
      });
      const database = owned.use(fill(path, entries));
      const ours = { name, run: async () => readRegistry(database, entries) };
      return entries === 1e6 ? [ours, { name: bare, run: async () => readBare(database) }] : [ours];
    });
    return contenders;
  },
};

function row(title: string, figure: string, more: { withBare?: true; atMost?: number } = {}): Row {
  const [ours, ...others] = Object.keys(sizes)
    .reverse()
    .map((contender) => ({ contender, figure }));
  if (!ours) throw new Error('there are no sizes');
  return {
    title,
    unit: 'µs',
    ours,
    peers: [...others, ...(more.withBare ? [{ contender: bare, figure }] : [])],
    ...(more.atMost !== undefined && { atMost: more.atMost }),
  };
}

/**
 * Makes a full registry: entry `i` of the second half was made from the snapshot of entry `i` of the first. The tables are written as
 * a whole, without triggers: a million puts would take minutes.
 */
function fill(path: string, entries: number): Database {
  const database = new Database(path);
  openRegistry(database, entries);
  const half = entries / 2;
  const ids = `WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < ${entries})`;
  // Taken away and made again afterwards: an index that is made of all rows is sorted once.
  const later = database
    .prepare(
      "SELECT type, name, sql FROM sqlite_master WHERE type = 'trigger' OR name LIKE 'cache_inputs_by_%'",
    )
    .all();
  database.transact(() => {
    for (const sql of [
      ...later.map(({ type, name }) => `DROP ${type} ${name}`),
      // Keys in their order, which is the fastest, and far enough from each other that new ones fall between them.
      `${ids} INSERT INTO cache_entries
       SELECT id, printf('%08x%056x', id * ${Math.floor(2 ** 32 / (entries + 1))}, id), printf('filled-%07d/s', id),
         iif(id > ${half}, printf('filled-%07d/s', id - ${half}), NULL), printf('step-%d', id % 5000), 1000, 0, 100
       FROM ids`,
      `${ids} INSERT INTO cache_usage SELECT id, id, 0, 0, id <= ${half} FROM ids`,
      `${ids} INSERT INTO cache_outputs SELECT id, zeroblob(200) FROM ids`,
      `${ids} INSERT INTO cache_inputs
       SELECT id, printf('step-%d', id % 5000), CAST(printf('command%09d', id % 9000) AS BLOB),
         CAST(printf('source%010d', id % 100) AS BLOB), '{"values":{},"trees":[]}', NULL
       FROM ids`,
      ...later.map(({ sql }) => String(sql)),
      `UPDATE cache_totals SET entries = ${entries}, bytes = ${entries * 1000}, parents = ${half}`,
    ])
      database.prepare(sql).run();
  });
  return database;
}

function openRegistry(database: Database, maxEntries: number): Registry {
  const limits = { maxEntries, maxBytes: Number.POSITIVE_INFINITY, reservedBytes: 0 };
  return new Registry(database, { limits, isPinned: () => false });
}

function readRegistry(database: Database, entries: number): Readings {
  const registry = openRegistry(database, entries);
  const keys = someIds(database, gets).map(({ key }) => key);
  const get = keys.map((key) =>
    timed(() => {
      if (!registry.get(key, { nowMs: 1 })) throw new Error(`${key} is not there`);
    }),
  );
  const put = Array.from({ length: puts }, () => timed(() => registry.put(newEntry(), { nowMs: 1 })));
  const putTogether = timed(() =>
    database.transact(() => {
      for (let i = 0; i < together; i++) registry.put(newEntry(), { nowMs: 1 });
    }),
  );
  const smaller = openRegistry(database, entries - together);
  const evicted: unknown[] = [];
  const eviction = timed(() => evicted.push(...smaller.evict({ nowMs: 1 })));
  if (evicted.length !== together) throw new Error(`${evicted.length} entries were evicted`);
  for (let i = 0; i < together; i++) registry.put(newEntry(), { nowMs: 1 });
  return {
    ...figures('get', get),
    ...figures('put', put),
    'each get': sum(get) / gets,
    'each put': putTogether / together,
    'each eviction': eviction / together,
  };
}

/** The least that a look-up which is a use can do, without and with the wait for the disk. */
function readBare(database: Database): Readings {
  const select = database.prepare('SELECT * FROM cache_entries WHERE id = ?');
  const update = database.prepare('UPDATE cache_usage SET last_used_at_ms = ? WHERE id = ?');
  let now = performance.now();
  const use = (id: number) => {
    select.get(id);
    update.run(Math.round(now++), id);
  };
  const ids = someIds(database, gets).map(({ id }) => id);
  const get = ids.map((id) => timed(() => database.transact(() => use(id), { durability: 'process' })));
  const put = ids.slice(0, puts).map((id) => timed(() => database.transact(() => use(id))));
  return { ...figures('get', get), ...figures('put', put), 'each get': sum(get) / gets };
}

/** Entries at random. */
function someIds(database: Database, count: number): { id: number; key: string }[] {
  const { first, last } =
    database.prepare('SELECT min(id) AS first, max(id) AS last FROM cache_entries').get() ?? {};
  const next = database.prepare('SELECT id, key FROM cache_entries WHERE id >= ? LIMIT 1');
  return Array.from({ length: count }, () => {
    const from = Number(first) + Math.floor(Math.random() * (Number(last) - Number(first) + 1));
    const { id, key } = next.get(from) ?? {};
    return { id: Number(id), key: String(key) };
  });
}

let made = 0;

function newEntry(): NewEntry {
  const key = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex');
  const inputs = { values: { command: { text: `make ${key}` }, image: { text: 'sha256:0' } }, trees: [] };
  const output = new Uint8Array(200);
  return { key, snapshot: `new-${made++}/s`, name: 'new', sizeBytes: 1000, durationMs: 100, inputs, output };
}

/** In µs. */
function timed(work: () => unknown): number {
  const start = performance.now();
  work();
  return (performance.now() - start) * 1000;
}

function figures(name: string, samples: number[]): Readings {
  return { [name]: samples, [`${name} p99`]: quantile(samples, 0.99) };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
