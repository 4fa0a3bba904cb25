import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { shellLine } from './shell-line.ts';

test.each([
  [['ls | wc -l'], 'ls | wc -l'],
  [[''], ''],
  [['ls', '-la', '/srv/x_y'], 'ls -la /srv/x_y'],
  [['echo', 'a b', "it's", ''], `echo 'a b' 'it'\\''s' ''`],
  [['A=1', 'x'], `'A=1' x`],
  [['~', '*'], `'~' '*'`],
  [['if', 'iffy'], `'if' iffy`],
])('of %j', (words, line) => {
  expect(shellLine(words)).toBe(line);
});

test('several words arrive at a program as they were given', () => {
  const words = [
    '',
    ' ',
    "'",
    "''",
    '"',
    '\\',
    '$HOME',
    '`id`',
    '*',
    '~',
    '#',
    '-',
    '--',
    'a\nb',
    '\t',
    'ü',
    '!x',
    '{a,b}',
    'if',
  ];
  const shown = execFileSync('/bin/sh', ['-c', shellLine(['printf', '%s\\0', ...words])]);
  expect(shown.toString().split('\0').slice(0, -1)).toEqual(words);
});
