import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { guessImageFormat } from './image-format.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-format-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
});

async function tarOf(...names: string[]): Promise<Buffer> {
  const tar = pack();
  for (const name of names) {
    if (name.endsWith('/')) tar.entry({ name, type: 'directory' });
    else tar.entry({ name }, 'x'.repeat(2000));
  }
  tar.finalize();
  return buffer(tar);
}

function file(content: Uint8Array): string {
  const path = join(dir, 'file');
  writeFileSync(path, content);
  return path;
}

const hash = 'ab'.repeat(32);

test.each([
  ['tar', ['./', './etc/', './etc/passwd']],
  ['tar', ['bin/', 'manifest.json']],
  ['tar', []],
  ['oci-archive', ['blobs/', `blobs/sha256/${hash}`, 'index.json', 'oci-layout']],
  ['docker-archive', [`${hash}.json`, `${hash}/layer.tar`, 'manifest.json']],
  ['docker-archive', [`${hash}.tar`, 'repositories']],
] as const)('%s: %j', async (format, names) => {
  const tar = await tarOf(...names);
  expect(await guessImageFormat(file(tar))).toBe(format);
  expect(await guessImageFormat(file(gzipSync(tar)))).toBe(format);
  expect(await guessImageFormat(file(zstdCompressSync(tar)))).toBe(format);
});

test('a folder is a layout when it says so', async () => {
  mkdirSync(join(dir, 'etc'));
  expect(await guessImageFormat(dir)).toBe('directory');
  writeFileSync(join(dir, 'oci-layout'), '{}');
  expect(await guessImageFormat(dir)).toBe('oci-layout');
});

test.each([
  ['an empty file', Buffer.alloc(0)],
  ['no tar', Buffer.alloc(5000, 7)],
  ['a damaged gzip', Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3, 4])],
])('%s is left to the import to refuse', async (_, content) => {
  expect(await guessImageFormat(file(content))).toBe('tar');
});

test('a path that is not there is named', async () => {
  await expect(guessImageFormat(join(dir, 'gone'))).rejects.toMatchObject({
    code: 'HostFile',
    message: expect.stringContaining(join(dir, 'gone')),
  });
});
