import { expect, test } from 'vitest';
import { type Column, renderFacts, renderTable } from './table.ts';

interface Row {
  name: string;
  count: number;
}

const columns: Column<Row>[] = [
  { title: 'NAME', value: (row) => row.name },
  { title: 'COUNT', value: (row) => String(row.count), align: 'right' },
];

test('columns are as wide as what is in them', () => {
  const rows = [
    { name: 'a', count: 1 },
    { name: 'longer', count: 100_000 },
  ];
  expect(renderTable(rows, columns)).toBe('NAME     COUNT\na            1\nlonger  100000');
});

test('the widest column is cut until the table fits', () => {
  const rows = [{ name: 'abcdefghijklmnop', count: 1 }];
  expect(renderTable(rows, columns, 15)).toBe('NAME      COUNT\nabcdefg…      1');
});

test('a table that cannot fit is as narrow as it may be', () => {
  const rows = [{ name: 'abcdefghijklmnop', count: 1 }];
  expect(renderTable(rows, columns, 3)).toBe('NAME    COUNT\nabcde…      1');
});

test('characters outside the basic plane are not cut in two', () => {
  expect(renderTable([{ name: '🐧'.repeat(12), count: 1 }], columns, 14).split('\n')[1]).toBe(
    `${'🐧'.repeat(6)}…      1`,
  );
});

test('what would move the cursor or break the line does not', () => {
  expect(renderTable([{ name: 'a\x1b[2J\nb\u202ec', count: 1 }], columns)).toBe(
    'NAME       COUNT\na [2J b c      1',
  );
});

test('facts in two columns, without those that have no value', () => {
  expect(
    renderFacts([
      ['id', 'web'],
      ['reason', undefined],
      ['memory', '1 GiB'],
    ]),
  ).toBe('id      web\nmemory  1 GiB');
});
