import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pageBytes, pagesOfFile } from './index.ts';

const ramPages = 2500; // More than is read at once.

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ram-'));
  path = join(dir, 'ram');
});
afterEach(() => rm(dir, { recursive: true }));

async function makeRam(pages: readonly number[]): Promise<void> {
  await using file = await open(path, 'wx');
  await file.truncate(ramPages * pageBytes);
  for (const page of pages) {
    const data = Buffer.alloc(pageBytes);
    data[page % pageBytes] = 1; // A single byte, at another place in each.
    await file.write(data, 0, pageBytes, page * pageBytes);
  }
}

test.each<[what: string, pages: number[]]>([
  ['none', []],
  ['the first and the last', [0, ramPages - 1]],
  ['far apart, near each other, and in a row', [0, 2, 40, 41, 42, 300]],
  [
    'at the edges of what is looked at as a whole, and read at once',
    [15, 16, 31, 32, 1023, 1024, 2047, 2048],
  ],
  ['up to an edge, with nothing after it', [14, 15, 63]],
  ['all', Array.from({ length: ramPages }, (_, page) => page)],
])('pages that are not zero are found: %s', async (_what, pages) => {
  await makeRam(pages);
  const found: number[] = [];
  for await (const { firstPage, count, data } of pagesOfFile(path, ramPages * pageBytes)) {
    expect(data.length).toBe(count * pageBytes);
    for (let page = firstPage; page < firstPage + count; page++) {
      found.push(page);
      expect((data as Buffer)[(page - firstPage) * pageBytes + (page % pageBytes)]).toBe(1);
    }
  }
  expect(found).toEqual(pages);
});

test('a file of another size, and one that is not there, are typed errors', async () => {
  await makeRam([]);
  const first = (ramBytes: number) => pagesOfFile(path, ramBytes).next();
  await expect(first((ramPages + 1) * pageBytes)).rejects.toMatchObject({ code: 'StateCorrupt' });
  await expect(first((ramPages - 1) * pageBytes)).rejects.toMatchObject({ code: 'StateCorrupt' });
  await rm(path);
  await expect(first(ramPages * pageBytes)).rejects.toMatchObject({ code: 'StateUnusable' });
});
