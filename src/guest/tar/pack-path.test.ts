import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { extract } from 'tar-stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type PackOptions, packPath } from './pack-path.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pack-'));
});

afterEach(() => rmSync(dir, { recursive: true }));

interface Listed {
  name: string;
  type: string;
  mode: number;
  linkname: string | null;
  mtime: string;
  text: string;
}

/** Unpacks in memory. */
async function list(path: string, options: PackOptions = {}): Promise<Listed[]> {
  const parser = extract();
  const feeding = (async () => {
    for await (const chunk of packPath(path, options)) parser.write(chunk);
    parser.end(null);
  })().catch((error) => parser.destroy(error));
  const listed: Listed[] = [];
  for await (const entry of parser) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry) chunks.push(chunk as Uint8Array);
    const { name, type, mode, linkname, pax } = entry.header;
    const { mtime } = pax as { mtime: string };
    listed.push({ name, type, mode, linkname, mtime, text: Buffer.concat(chunks).toString() });
  }
  await feeding;
  return listed;
}

test('a directory is packed with modes, times and links, its own entry first', async () => {
  mkdirSync(join(dir, 'sub'), { mode: 0o750 });
  writeFileSync(join(dir, 'sub/a'), 'text', { mode: 0o640 });
  linkSync(join(dir, 'sub/a'), join(dir, 'z'));
  symlinkSync('nowhere/ü', join(dir, 'sub/link'));
  utimesSync(join(dir, 'z'), 1_700_000_000.25, 1_700_000_000.25);
  lutimesSync(join(dir, 'sub/link'), 5_000_000_000, 5_000_000_000);
  const listed = await list(dir);
  expect(listed.map(({ name, type }) => `${type} ${name}`)).toEqual([
    'directory .',
    'directory sub',
    'file sub/a',
    'symlink sub/link',
    'link z',
  ]);
  expect(listed[1]).toMatchObject({ mode: 0o750 });
  expect(listed[2]).toMatchObject({ mode: 0o640, text: 'text', mtime: '1700000000.250000' });
  expect(listed[3]).toMatchObject({ linkname: 'nowhere/ü', mtime: '5000000000.000000' });
  expect(listed[4]).toMatchObject({ linkname: 'sub/a' });
});

test('a file is an archive of one entry, under its own name or another', async () => {
  const file = join(dir, 'f');
  writeFileSync(file, 'text');
  expect(await list(file)).toMatchObject([{ name: 'f', text: 'text' }]);
  expect(await list(file, { as: 'other' })).toMatchObject([{ name: 'other', text: 'text' }]);
});

test('the top may be named, or left out', async () => {
  writeFileSync(join(dir, 'f'), '');
  expect((await list(dir, { as: 'top' })).map(({ name }) => name)).toEqual(['top', 'top/f']);
  expect((await list(dir, { root: 'leave-out' })).map(({ name }) => name)).toEqual(['f']);
});

test('names and contents of any length come through', async () => {
  const name = `${'ü'.repeat(100)}.txt`;
  const text = 'x'.repeat(3 * 65_536 + 17);
  writeFileSync(join(dir, name), text);
  expect(await list(dir, { root: 'leave-out' })).toMatchObject([{ name, text }]);
});

test('sockets are left out', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(dir, 'socket'), resolve));
  writeFileSync(join(dir, 'f'), '');
  expect((await list(dir)).map(({ name }) => name)).toEqual(['.', 'f']);
  await new Promise((resolve) => server.close(resolve));
});

test.each([
  ['grows is cut', (file: string) => appendFileSync(file, 'more'), ''],
  [
    'shrinks is padded with zeros',
    (file: string) => truncateSync(file, 65_536),
    '\0'.repeat(200_000 - 65_536),
  ],
])('a file that %s at the size it had', async (_name, change, padding) => {
  const file = join(dir, 'f');
  writeFileSync(file, 'x'.repeat(200_000));
  const parser = extract();
  const texts: string[] = [];
  const parsing = (async () => {
    for await (const entry of parser) {
      let text = '';
      for await (const chunk of entry) text += String(chunk);
      texts.push(text);
    }
  })();
  let chunks = 0;
  for await (const chunk of packPath(file)) {
    // The headers and the first bytes are there: the rest of the file is read only when more is asked for.
    if (++chunks === 4) change(file);
    parser.write(chunk);
  }
  parser.end(null);
  await parsing;
  const text = texts[0] ?? '';
  expect(text.length).toBe(200_000);
  expect(text.startsWith('x'.repeat(65_536))).toBe(true);
  expect(text.endsWith(padding)).toBe(true);
});

test('what does not exist is a typed error', async () => {
  await expect(list(join(dir, 'nope'))).rejects.toThrow(
    expect.objectContaining({ code: 'HostFile', details: { path: join(dir, 'nope'), errno: 'ENOENT' } }),
  );
});

test('a name that is not UTF-8 is a typed error, for it would come out as another', async () => {
  writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.of(0xff, 0x41)]), '');
  await expect(list(dir)).rejects.toThrow(expect.objectContaining({ code: 'HostFile' }));
});

test('it can be cancelled, and left in the middle', async () => {
  for (let i = 0; i < 10; i++) writeFileSync(join(dir, `f${i}`), 'x'.repeat(100_000));
  const controller = new AbortController();
  const packing = packPath(dir, { signal: controller.signal });
  await packing.next();
  controller.abort();
  const rest = (async () => {
    for await (const _ of packing);
  })();
  await expect(rest).rejects.toThrow(expect.objectContaining({ code: 'Cancelled' }));
  for await (const _ of packPath(dir)) break;
});

test('borrowed chunks are the same bytes in few buffers', async () => {
  writeFileSync(join(dir, 'large'), randomBytes(5_000_000));
  for (let index = 0; index < 200; index++) writeFileSync(join(dir, `f${index}`), randomBytes(index * 300));
  const digests = await Promise.all(
    [{}, { chunks: 'borrowed' as const }].map(async (options) => {
      const digest = createHash('sha256');
      const buffers = new Set<ArrayBufferLike>();
      for await (const chunk of packPath(dir, options)) {
        digest.update(chunk);
        if (chunk.length > 10_000) buffers.add(chunk.buffer);
      }
      return { digest: digest.digest('hex'), few: buffers.size <= 20 };
    }),
  );
  expect(digests[1]?.digest).toBe(digests[0]?.digest);
  expect(digests.map(({ few }) => few)).toEqual([false, true]);
});
