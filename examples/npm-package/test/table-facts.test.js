import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { formatFacts } from '../lib/format.js';
import { tableFacts } from '../lib/index.js';

const text =
  'name,age,born,note\r\nAda,36,1815-12-10,"wrote ""Notes"", and more"\r\nGrace,85,1906-12-09,\r\n';

test('the facts of a table', () => {
  const [name, age, born, note] = tableFacts([text]);
  assert.deepEqual(name, { name: 'name', kind: 'text', values: 2, empty: 0, distinct: 2 });
  assert.equal(age.mean, 60.5);
  assert.deepEqual([age.kind, age.min, age.max], ['number', 36, 85]);
  assert.equal(born.kind, 'date');
  assert.deepEqual([note.values, note.empty], [1, 1]);
});

test('it does not matter where the text is cut', () => {
  assert.deepEqual(tableFacts(text), tableFacts([text]));
});

test('a day that the calendar has not is text', () => {
  assert.equal(tableFacts(['day\n2023-02-30\n'])[0].kind, 'text');
});

test('what is no table is refused', () => {
  assert.throws(() => tableFacts(['a,b\n1,2,3\n']), /row 1 has 3 fields/);
  assert.throws(() => tableFacts(['a\n"open']), /line 2: a quote is not closed/);
});

test('the deviation of large numbers is exact', () => {
  const [column] = tableFacts(['n\n1000000001\n1000000002\n1000000003\n']);
  assert.equal(column.deviation, 1);
});

test('the table for people', () => {
  assert.match(formatFacts(tableFacts(['n\n1\n2\n'])), /^n {7}number +2 +0 +2 +1 +2 +1\.5 +0\.707107$/m);
});

test('the command', () => {
  const program = new URL('../bin/table-facts.js', import.meta.url).pathname;
  const file = new URL('people.csv', import.meta.url).pathname;
  const [first] = JSON.parse(execFileSync(process.execPath, [program, '--json', file], { encoding: 'utf8' }));
  assert.equal(first.distinct, 3);
});
