import { expect, test } from 'vitest';
import {
  compareNames,
  formatBackupName,
  manifestName,
  parseBackupName,
  stampMs,
  stampOf,
} from './backup-name.ts';

test.each([
  ['s-20300102T030405Z.tar.zst', { sessionId: 's', stamp: '20300102T030405Z', sequence: 1 }],
  ['s-20300102T030405Z-2.tar.zst', { sessionId: 's', stamp: '20300102T030405Z', sequence: 2 }],
  ['a-2-20300102T030405Z-17.tar.zst', { sessionId: 'a-2', stamp: '20300102T030405Z', sequence: 17 }],
  ['20300102-20300102T030405Z.tar.zst', { sessionId: '20300102', stamp: '20300102T030405Z', sequence: 1 }],
])('%s says whose it is and when it was made', (name, parsed) => {
  expect(parseBackupName(name)).toEqual(parsed);
  expect(formatBackupName(parsed)).toBe(name);
});

test.each([
  '',
  's.tar.zst',
  's-20300102T030405Z.tar',
  's-20300102T030405Z.json',
  '-20300102T030405Z.tar.zst',
  'S-20300102T030405Z.tar.zst',
  '../s-20300102T030405Z.tar.zst',
  'a/s-20300102T030405Z.tar.zst',
  's\n-20300102T030405Z.tar.zst',
  's-20300102T030405Z.tar.zst\n',
  's-20300230T030405Z.tar.zst',
  's-20300102T240405Z.tar.zst',
  's-20300102T030405Z-1.tar.zst',
  's-20300102T030405Z-02.tar.zst',
  's-20300102T030405Z--2.tar.zst',
  `${'s'.repeat(64)}-20300102T030405Z.tar.zst`,
  '.alcove-own-0011.tar.zst',
])('%j is no name of a backup', (name) => {
  expect(parseBackupName(name)).toBeUndefined();
});

test('a stamp is a second in UTC', () => {
  expect(stampOf(Date.UTC(2030, 0, 2, 3, 4, 5, 999))).toBe('20300102T030405Z');
  expect(stampMs('20300102T030405Z')).toBe(Date.UTC(2030, 0, 2, 3, 4, 5));
  expect(stampMs('20301302T030405Z')).toBeNaN();
});

test('names are in the order they were made, past nine in one second too', () => {
  const names = ['s-20300102T030405Z-10', 's-20300102T030406Z', 's-20300102T030405Z-9', 's-20300102T030405Z'];
  const parsed = names.flatMap((name) => parseBackupName(`${name}.tar.zst`) ?? []);
  expect(parsed.sort(compareNames).map(formatBackupName)).toEqual([
    's-20300102T030405Z.tar.zst',
    's-20300102T030405Z-9.tar.zst',
    's-20300102T030405Z-10.tar.zst',
    's-20300102T030406Z.tar.zst',
  ]);
  expect(manifestName('s-20300102T030405Z-2.tar.zst')).toBe('s-20300102T030405Z-2.json');
});
