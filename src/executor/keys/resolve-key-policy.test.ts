import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { KeyPolicy } from '../action.ts';
import { type ResolvedKeyPolicy, resolveKeyPolicy } from './resolve-key-policy.ts';

let base: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'policy-'));
  mkdirSync(join(base, 'src/deep'), { recursive: true });
  for (const file of ['Makefile', 'src/a.c', 'src/.hidden.c', 'src/deep/b.c', 'src/notes', '[x].c'])
    writeFileSync(join(base, file), file, { mode: 0o644 });
});

afterEach(() => rmSync(base, { recursive: true }));

async function resolved(policy: KeyPolicy): Promise<ResolvedKeyPolicy> {
  const found = await resolveKeyPolicy(policy, { base });
  if (found === 'none') throw new Error('not cached');
  return found;
}

async function names(...onChange: string[]): Promise<string[]> {
  return Object.keys((await resolved({ onChange })).files);
}

test.each<[string[], string[]]>([
  [['Makefile'], ['Makefile']],
  [['src'], ['src/.hidden.c', 'src/a.c', 'src/deep/b.c', 'src/notes']],
  [['src/*.c'], ['src/.hidden.c', 'src/a.c']],
  [
    ['src/**/*.c', 'Makefile'],
    ['src/.hidden.c', 'src/a.c', 'src/deep/b.c', 'Makefile'],
  ],
  [['src/{a,b}.c'], ['src/a.c']],
  [['[x].c'], ['[x].c']],
  [['./src/../Makefile', 'Makefile'], ['Makefile']],
])('%j means %j', async (onChange, files) => {
  expect(await names(...onChange)).toEqual(files);
});

test('absolute paths and globs are named from the base, and in full where they are not below it', async () => {
  const below = join(base, 'src');
  expect(await names(join(base, 'Makefile'), join(base, 'src/*.c'))).toEqual([
    'Makefile',
    'src/.hidden.c',
    'src/a.c',
  ]);
  const { files } = (await resolveKeyPolicy(
    { onChange: ['../Makefile', '../*.c', join(base, 'src/a.c')] },
    { base: below },
  )) as ResolvedKeyPolicy;
  expect(Object.keys(files)).toEqual([join(base, 'Makefile'), join(base, '[x].c'), 'a.c']);
});

test('mode and content count, time does not', async () => {
  const before = await resolved({ onChange: ['src'] });
  expect(before.files['src/a.c']).toMatch(/^644 sha256:[0-9a-f]{64}$/);
  utimesSync(join(base, 'src/a.c'), 1, 1);
  expect(await resolved({ onChange: ['src'] })).toEqual(before);
  chmodSync(join(base, 'src/a.c'), 0o755);
  writeFileSync(join(base, 'src/notes'), 'other');
  const after = await resolved({ onChange: ['src'] });
  const changed = Object.keys(before.files).filter((name) => before.files[name] !== after.files[name]);
  expect(changed).toEqual(['src/a.c', 'src/notes']);
});

test('a link is what it leads to; in a folder it is where it leads', async () => {
  symlinkSync('a.c', join(base, 'src/link.c'));
  const { files } = await resolved({ onChange: ['src/link.c'] });
  expect(files['src/link.c']).toBe((await resolved({ onChange: ['src/a.c'] })).files['src/a.c']);
  expect(await names('src/l*.c')).toEqual(['src/link.c']);
  expect((await resolved({ onChange: ['src'] })).files['src/link.c']).toBe('link to a.c');
});

test.each([['nope'], ['src/nope.c'], ['Makefile/x'], ['src/*.h'], ['nope/**'], ['!src/*.c']])(
  '%s is an error that names it, for nothing is there',
  async (missing) => {
    await expect(resolved({ compose: ['forever', { onChange: ['Makefile', missing] }] })).rejects.toThrow(
      expect.objectContaining({
        code: 'InvalidInput',
        message: expect.stringContaining(missing),
        details: { field: 'onChange' },
      }),
    );
  },
);

test('several policies: all files, the smallest age, and none where one of them is that', async () => {
  const all = await resolved({
    compose: [
      { ttlMs: 500 },
      { compose: [{ ttlMs: 300 }, { onChange: ['Makefile'] }] },
      'forever',
      { onChange: ['a.c'], base: 'src' },
    ],
  });
  expect(all).toMatchObject({ maxAgeMs: 300 });
  expect(Object.keys(all.files)).toEqual(['Makefile', 'a.c']);
  expect(
    await resolveKeyPolicy({ compose: ['forever', { compose: ['none'] }, { onChange: ['nope'] }] }),
  ).toBe('none');
  expect(await resolveKeyPolicy('forever')).toEqual({ files: {} });
});

test('files of two bases with one name are two', async () => {
  writeFileSync(join(base, 'src/Makefile'), 'other');
  const { files } = await resolved({
    compose: [{ onChange: ['Makefile'] }, { onChange: ['Makefile'], base: 'src' }],
  });
  expect(Object.keys(files)).toEqual(['Makefile', 'Makefile (2)']);
  expect(new Set(Object.values(files)).size).toBe(2);
});

test.each<KeyPolicy>([
  { ttlMs: 0 },
  { ttlMs: -1 },
  { ttlMs: Number.NaN },
  { onChange: [] },
  { compose: ['none', { ttlMs: 0 }] },
])('%j is no policy', async (policy) => {
  await expect(resolveKeyPolicy(policy)).rejects.toThrow(expect.objectContaining({ code: 'InvalidInput' }));
});

test('it can be cancelled', async () => {
  for (const onChange of [['src'], ['src/**']])
    await expect(resolveKeyPolicy({ onChange }, { base, signal: AbortSignal.abort() })).rejects.toThrow(
      expect.objectContaining({ code: 'Cancelled' }),
    );
});
