import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { renameDurably, storageError, writeFileDurably } from './durable.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'alcove-durable-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

test('a file is replaced whole, private, and nothing is left beside it', async () => {
  const path = join(dir, 'file');
  writeFileSync(path, 'old and longer');
  await writeFileDurably(path, 'new');
  expect(readFileSync(path, 'utf8')).toBe('new');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(dir)).toEqual(['file']);
});

test('writers of one path at once each write it whole; one of them is last', async () => {
  const path = join(dir, 'file');
  const texts = Array.from({ length: 20 }, (_, index) => String(index).repeat(10_000));
  await Promise.all(texts.map((text) => writeFileDurably(path, text)));
  expect(texts).toContain(readFileSync(path, 'utf8'));
  expect(readdirSync(dir)).toEqual(['file']);
});

test('a write that fails leaves the old file and nothing beside it', async () => {
  const path = join(dir, 'taken');
  mkdirSync(join(path, 'inside'), { recursive: true });
  await expect(writeFileDurably(path, 'new')).rejects.toThrow();
  expect(readdirSync(dir)).toEqual(['taken']);
  expect(readdirSync(path)).toEqual(['inside']);
});

test('a rename goes across folders', async () => {
  mkdirSync(join(dir, 'a'));
  mkdirSync(join(dir, 'b'));
  writeFileSync(join(dir, 'a', 'file'), 'x');
  await renameDurably(join(dir, 'a', 'file'), join(dir, 'b', 'file'));
  expect(readdirSync(join(dir, 'a'))).toEqual([]);
  expect(readFileSync(join(dir, 'b', 'file'), 'utf8')).toBe('x');
});

test.for(['ENOSPC', 'EROFS', 'EDQUOT', 'EACCES'])('%s becomes a typed error that names the path', (code) => {
  const cause = Object.assign(new Error('no'), { code });
  expect(storageError('/state/file', cause)).toMatchObject({
    code: 'StateUnusable',
    details: { path: '/state/file', errno: code },
    cause,
  });
});

test('other errors pass through', () => {
  const error = Object.assign(new Error('no'), { code: 'ENOENT' });
  expect(storageError('/state/file', error)).toBe(error);
  expect(storageError('/state/file', undefined)).toBeUndefined();
});
