import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { digestFile } from './index.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'digest-'));
  path = join(dir, 'file');
});
afterEach(() => rmSync(dir, { recursive: true }));

// What `sha256sum` says of them.
test.each([
  ['nothing', '', 0, 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
  ['three bytes', 'abc', 3, 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  [
    'more than is read at once',
    'a'.repeat(3_000_000),
    3_000_000,
    '2a152c894398719c0570f83fac34ac03a0f6e8e474b995c2403aa5434f7b9dd4',
  ],
])('a file of %s has its size and SHA-256', async (_what, content, sizeBytes, sha256) => {
  writeFileSync(path, content);
  expect(await digestFile(path)).toEqual({ sizeBytes, sha256 });
});

test('a file that is not there is an error, and so is a signal', async () => {
  await expect(digestFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
  writeFileSync(path, 'abc');
  await expect(digestFile(path, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
});
