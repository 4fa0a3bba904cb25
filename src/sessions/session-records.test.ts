import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Database } from '../store/index.ts';
import { type SessionRecord, SessionRecords } from './session-records.ts';

const plain: SessionRecord = {
  id: 's',
  phase: 'here',
  vmId: 'session-1',
  createdAtMs: 1,
  usedAtMs: 2,
  wakes: 1,
  backedUpWakes: undefined,
  newestBackup: undefined,
  failedBackup: undefined,
  bootstrap: undefined,
};
const full: SessionRecord = {
  ...plain,
  backedUpWakes: 1,
  newestBackup: 's-20300101T000000Z.tar.zst',
  failedBackup: { attempts: 2, message: 'full', atMs: 5, nextAttemptAtMs: 6 },
  bootstrap: { command: ['make'], stdout: 'ü\n', stderr: '', durationMs: 3, endedAtMs: 4 },
};

function opened(): SessionRecords {
  const database = new Database(':memory:');
  onTestFinished(() => database.close());
  return new SessionRecords(database);
}

test.for([plain, full])('a row comes back as it was put (%#)', (record) => {
  const records = opened();
  records.put(record);
  expect(records.find('s')).toEqual(record);
  expect(records.all()).toEqual([record]);
});

test('rows are there after the file was closed and opened again', () => {
  const dir = mkdtempSync(join(tmpdir(), 'alcove-records-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  for (const isThere of [false, true]) {
    using database = new Database(join(dir, 'db'));
    const records = new SessionRecords(database);
    expect(records.find('s')).toEqual(isThere ? full : undefined);
    records.put(full);
  }
});

test('a change sees what is there now, and changes nothing else', () => {
  const records = opened();
  records.put(full);
  const changed = records.change('s', ({ wakes }) => ({ wakes: wakes + 1, failedBackup: undefined }));
  expect(changed).toEqual({ ...full, wakes: 2, failedBackup: undefined });
  expect(records.find('s')).toEqual(changed);
});

test('a change does not bring back a session that is gone', () => {
  const records = opened();
  records.put(full);
  records.delete('s');
  expect(records.change('s', () => ({ wakes: 9 }))).toBeUndefined();
  expect(records.all()).toEqual([]);
});

test('when it was used is written without the rest', () => {
  const records = opened();
  records.put(full);
  records.touch('s', 99);
  expect(records.find('s')).toEqual({ ...full, usedAtMs: 99 });
});

test.for<[string, Partial<SessionRecord>]>([
  ['that is here has no machine', { vmId: undefined }],
  ['that is removed has a machine', { phase: 'removed', newestBackup: 'b' }],
  ['that is removed has no backup', { phase: 'removed', vmId: undefined }],
  ['that is lost has a machine', { phase: 'lost' }],
])('no session %s', ([, change]) => {
  expect(() => opened().put({ ...plain, ...change })).toThrow('CHECK');
});
