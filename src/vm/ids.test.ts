import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { checkId, generateId, idPattern, parseSnapshotRef } from './ids.ts';

test('generated ids are ids, and differ', () => {
  const ids = new Set(Array.from({ length: 1000 }, () => generateId('vm', randomBytes)));
  expect(ids.size).toBe(1000);
  for (const id of ids) expect(id).toMatch(idPattern);
});

test('a snapshot is named by its VM and its own id', () => {
  expect(parseSnapshotRef('web/first')).toEqual({ vmId: 'web', id: 'first' });
});

test.for(['web', 'web/', '/first', 'web/first/more', '../first', 'web/..', 'Web/first', ''])(
  '%j names no snapshot',
  (ref) => {
    expect(() => parseSnapshotRef(ref)).toThrowError(expect.objectContaining({ code: 'InvalidInput' }));
  },
);

test('an id is checked, never rewritten', () => {
  expect(checkId('id', '0-a')).toBe('0-a');
  for (const id of [' a', 'a ', 'a\n', 'ä', 'a_b', 'a.b'])
    expect(() => checkId('id', id)).toThrowError(
      expect.objectContaining({ code: 'InvalidInput', details: { field: 'id' } }),
    );
});
