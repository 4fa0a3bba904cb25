import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Git } from '../../../test/executor/git.ts';
import { scanTree } from '../../guest/index.ts';
import { Gitignore } from './gitignore.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'gitignore-'));
});

afterEach(() => rmSync(dir, { recursive: true }));

/** Files by path; a name with a slash at its end is an empty directory. */
function write(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(dir, dirname(path)), { recursive: true });
    if (path.endsWith('/')) mkdirSync(join(dir, path), { recursive: true });
    else writeFileSync(join(dir, path), text);
  }
}

async function selected(): Promise<string[]> {
  const rules = new Gitignore(dir);
  const paths: string[] = [];
  for await (const { path, kind } of scanTree(dir, {
    select: async (entry) => !(await rules.ignores(entry)),
  }))
    if (kind !== 'directory') paths.push(path);
  return paths.sort();
}

test('a file in an ignored directory cannot come back, one in a directory that is not can', async () => {
  write({
    '.gitignore': 'out/\n!out/keep\nlogs/*\n!logs/keep\n',
    'out/keep': '',
    'logs/keep': '',
    'logs/other': '',
  });
  expect(await selected()).toEqual(['.gitignore', 'logs/keep']);
});

test('of nested files the deepest that says something decides', async () => {
  write({
    '.gitignore': '*.log\nbuild/\n',
    'a/.gitignore': '!*.log\n!build/\n',
    'a/x.log': '',
    'a/build/x': '',
    'a/build/x.log': '',
    'a/b/.gitignore': '/x.log\n',
    'a/b/x.log': '',
    'a/b/c/x.log': '',
    'x.log': '',
    'build/x': '',
  });
  expect(await selected()).toEqual([
    '.gitignore',
    'a/.gitignore',
    'a/b/.gitignore',
    'a/b/c/x.log',
    'a/build/x',
    'a/build/x.log',
    'a/x.log',
  ]);
});

test('a .gitignore that is a link, or no file, says nothing', async () => {
  write({ rules: '*', 'a/.gitignore/x': '', 'a/y': '' });
  symlinkSync('rules', join(dir, '.gitignore'));
  expect(await selected()).toEqual(['.gitignore', 'a/.gitignore/x', 'a/y', 'rules']);
});

const name = fc.constantFrom(
  'a',
  'b',
  'ab',
  'a.o',
  'b.log',
  'A',
  '.h',
  'a b',
  'a*',
  '[a]',
  '#a',
  '!a',
  'ä',
  'a\\b',
  '...',
);
const piece = fc.constantFrom(
  'a',
  'b',
  'A',
  '*',
  '?',
  '**',
  '/',
  '/',
  '.o',
  '.log',
  '[ab]',
  '[!a]',
  '[a-',
  '[[:alpha:]]',
  '\\',
  '\\*',
  ' ',
  '\\ ',
  '#',
  '!',
  'ä',
  '.',
);
const line = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .record({
        bang: fc.constantFrom('', '', '!'),
        head: fc.constantFrom('', '', '/', '**/'),
        body: fc.array(name, { minLength: 1, maxLength: 2 }),
        tail: fc.constantFrom('', '', '/', '/**', '/*'),
      })
      .map(({ bang, head, body, tail }) => bang + head + body.join('/') + tail),
  },
  { weight: 2, arbitrary: fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join('')) },
);
const rulesText = fc
  .tuple(fc.array(line, { maxLength: 6 }), fc.constantFrom('\n', '\r\n'))
  .map(([lines, end]) => lines.join(end));
const path = fc.array(name, { minLength: 1, maxLength: 4 });
const tree = fc.record({
  files: fc.array(path, { minLength: 1, maxLength: 12 }),
  rules: fc.array(fc.tuple(fc.array(name, { maxLength: 2 }), rulesText), { minLength: 1, maxLength: 4 }),
});

test('what is left out is what git leaves out', async () => {
  using git = new Git();
  await fc.assert(
    fc.asyncProperty(tree, async ({ files, rules }) => {
      rmSync(dir, { recursive: true });
      mkdirSync(dir);
      for (const [at, text] of rules) tryWrite([...at, '.gitignore'], text);
      for (const parts of files) tryWrite(parts, '');
      expect(await selected()).toEqual(git.addable(dir));
    }),
    { numRuns: 150 },
  );
});

/** Writes a file unless something else is in the way. */
function tryWrite(parts: readonly string[], text: string): void {
  const at = join(dir, ...parts);
  try {
    mkdirSync(dirname(at), { recursive: true });
    writeFileSync(at, text, { flag: 'wx' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST' && code !== 'ENOTDIR' && code !== 'EISDIR') throw error;
  }
}
