import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { writeSparseFile } from './sparse-file.ts';

function testPath(): string {
  const dir = mkdtempSync(join(tmpdir(), 'sparse-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return join(dir, 'file');
}

async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

test.each([1 << 20, 256 << 10, 100_001, 70_000])(
  'long runs of zeros take no room, in chunks of %i',
  async (size) => {
    const path = testPath();
    const bytes = Buffer.alloc(8 << 20);
    bytes.write('a little', 3 << 20);
    bytes.write('and a little', (6 << 20) - 5);
    await writeSparseFile(path, chunksOf(bytes, size));
    expect(readFileSync(path).equals(bytes)).toBe(true);
    expect(statSync(path).blocks * 512).toBeLessThan(1 << 20);
  },
);

test.each([0, 1, 65_535, 65_536, 65_537])('%i bytes are written as they are', async (length) => {
  const bytes = Buffer.alloc(length, 7);
  const path = testPath();
  await writeSparseFile(path, chunksOf(bytes, 1000));
  expect(readFileSync(path).equals(bytes)).toBe(true);
});

test('what is there is not written over', async () => {
  const path = testPath();
  writeFileSync(path, 'mine');
  await expect(writeSparseFile(path, chunksOf(Buffer.from('x'), 1))).rejects.toMatchObject({
    code: 'EEXIST',
  });
});
