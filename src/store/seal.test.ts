import { link, mkdtemp, open, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isSealed, type Seal, sealOfFile } from './index.ts';

let dir: string;
let path: string;
let seal: Seal;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'seal-'));
  path = join(dir, 'file');
  await writeFile(path, 'content');
  await utimes(path, 1000, 1000); // Long ago: a change now is one of another time, however fast the test.
  seal = JSON.parse(JSON.stringify(await sealOfFile(path)));
});
afterEach(() => rm(dir, { recursive: true }));

test('a file that only got other names is still the one that was sealed, by each of them', async () => {
  await link(path, join(dir, 'second'));
  await rename(path, join(dir, 'third'));
  expect(await isSealed(join(dir, 'second'), seal)).toBe(true);
  expect(await isSealed(join(dir, 'third'), seal)).toBe(true);
});

test.each<[what: string, change: () => Promise<unknown>]>([
  [
    'one byte of it was written',
    async () => {
      await using file = await open(path, 'r+');
      await file.write('C', 0);
    },
  ],
  [
    'it got longer, and its time was set back',
    async () => {
      await writeFile(path, 'content, and more');
      await utimes(path, 1000, 1000);
    },
  ],
  [
    'another of the same time and size took its place',
    async () => {
      await writeFile(join(dir, 'other'), 'Content');
      await utimes(join(dir, 'other'), 1000, 1000);
      await rename(join(dir, 'other'), path);
    },
  ],
  ['it is gone', () => rm(path)],
])('a seal is broken when %s', async (_what, change) => {
  expect(await isSealed(path, seal)).toBe(true);
  await change();
  expect(await isSealed(path, seal)).toBe(false);
});
