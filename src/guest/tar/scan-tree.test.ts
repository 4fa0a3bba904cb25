import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  linkSync,
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
import { listTree, type Select, type TreeOptions } from './host-tree.ts';
import { type PackOptions, packPath } from './pack-path.ts';
import { scanTree } from './scan-tree.ts';
import type { TreeEntry } from './tree-entry.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'scan-'));
});

afterEach(() => rmSync(dir, { recursive: true }));

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

async function scan(options: TreeOptions = {}): Promise<TreeEntry[]> {
  return all(scanTree(dir, options));
}

/** What packing told, and what an independent reading of the archive says. */
async function packed(options: PackOptions = {}, onChunk: (count: number) => void = () => {}) {
  const told: TreeEntry[] = [];
  const parser = extract();
  const feeding = (async () => {
    let count = 0;
    for await (const chunk of packPath(dir, {
      root: 'leave-out',
      ...options,
      onEntry: (entry) => told.push(entry),
    })) {
      onChunk(++count);
      parser.write(chunk);
    }
    parser.end(null);
  })().catch((error) => parser.destroy(error));
  const read: { name: string; type: string; sha256: string }[] = [];
  for await (const entry of parser) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry) chunks.push(chunk as Uint8Array);
    const { name, type } = entry.header;
    read.push({ name, type, sha256: sha256Of(Buffer.concat(chunks)) });
  }
  await feeding;
  return { told, read };
}

function sha256Of(bytes: Uint8Array): string {
  return execFileSync('sha256sum', { input: bytes, encoding: 'utf8' }).slice(0, 64);
}

/** One of each kind. */
function writeTree(): void {
  mkdirSync(join(dir, 'sub/empty'), { recursive: true });
  writeFileSync(join(dir, 'sub/small'), 'text', { mode: 0o640 });
  writeFileSync(join(dir, 'sub/large'), 'x'.repeat(200_000));
  for (const path of ['sub', 'sub/empty']) chmodSync(join(dir, path), 0o755);
  chmodSync(join(dir, 'sub/large'), 0o644);
  linkSync(join(dir, 'sub/large'), join(dir, 'z'));
  symlinkSync('nowhere', join(dir, 'link'));
  execFileSync('mkfifo', ['-m', '600', join(dir, 'pipe')]);
}

test('a scan tells what packing tells, in the same order, of links each as a file', async () => {
  writeTree();
  const entries = await scan();
  expect(entries.map(({ path, kind, mode }) => [path, kind, mode.toString(8)])).toEqual([
    ['link', 'symlink', '777'],
    ['pipe', 'fifo', '600'],
    ['sub', 'directory', '755'],
    ['sub/empty', 'directory', '755'],
    ['sub/large', 'file', '644'],
    ['sub/small', 'file', '640'],
    ['z', 'file', '644'],
  ]);
  expect(entries[0]?.target).toBe('nowhere');
  const large = { sizeBytes: 200_000, sha256: sha256Of(Buffer.from('x'.repeat(200_000))) };
  expect(entries[4]).toMatchObject(large);
  expect(entries[6]).toMatchObject(large);
  for (const hardLinks of ['keep', 'separate'] as const) {
    const { told, read } = await packed({ hardLinks });
    expect(told).toEqual(entries);
    expect(read.map(({ name }) => name)).toEqual(entries.map(({ path }) => path));
    expect(read.at(-1)?.type).toBe(hardLinks === 'keep' ? 'link' : 'file');
  }
  expect((await all(listTree(dir))).map(({ path, kind }) => [path, kind])).toEqual(
    entries.map(({ path, kind }) => [path, kind]),
  );
});

test('a name for the top changes no path, and a plain top has no mode of its own', async () => {
  writeTree();
  rmSync(join(dir, 'sub'), { recursive: true });
  const { told, read } = await packed({ as: 'top', root: 'plain' });
  expect(told).toEqual(await scan());
  expect(read.map(({ name }) => name)).toEqual(['top', 'top/link', 'top/pipe', 'top/z']);
});

test('a directory that is not selected is not looked into', async () => {
  writeTree();
  const asked: string[] = [];
  const select: Select = async ({ path, isDirectory, hostPath }) => {
    expect(hostPath).toBe(join(dir, path));
    asked.push(isDirectory ? `${path}/` : path);
    return path !== 'sub' && path !== 'pipe';
  };
  expect((await scan({ select })).map(({ path }) => path)).toEqual(['link', 'z']);
  expect(asked).toEqual(['link', 'pipe', 'sub/', 'z']);
  expect((await packed({ select })).read.map(({ name }) => name)).toEqual(['link', 'z']);
});

test('neither times, nor the order of creation, nor the place of a tree are in what is told', async () => {
  writeFileSync(join(dir, 'b'), '1');
  writeFileSync(join(dir, 'a'), '2');
  const before = await scan();
  const other = mkdtempSync(join(tmpdir(), 'scan-other-'));
  writeFileSync(join(other, 'a'), '2');
  writeFileSync(join(other, 'b'), '1');
  utimesSync(join(other, 'a'), 1, 1);
  expect(await all(scanTree(other))).toEqual(before);
  rmSync(other, { recursive: true });
});

test.each([
  ['grows', (file: string) => appendFileSync(file, 'more')],
  ['shrinks', (file: string) => truncateSync(file, 65_536)],
  ['is written over', (file: string) => writeFileSync(file, 'y'.repeat(200_000))],
])(
  'of a file that %s while it is packed the digest is that of the bytes in the archive',
  async (_name, change) => {
    const file = join(dir, 'f');
    writeFileSync(file, 'x'.repeat(200_000));
    const before = await scan();
    // The headers and the first bytes are there then; the rest is read only when it is asked for.
    const { told, read } = await packed({}, (count) => count === 4 && change(file));
    expect(told[0]).toMatchObject({ path: 'f', sizeBytes: 200_000, sha256: read[0]?.sha256 });
    expect(told[0]?.sha256 === before[0]?.sha256).toBe(_name === 'grows');
  },
);

test('what vanishes while it is packed is neither packed nor told of', async () => {
  for (let index = 10; index < 60; index++) writeFileSync(join(dir, `f${index}`), `${index}`);
  const { told, read } = await packed({}, (count) => count === 1 && rmSync(join(dir, 'f59')));
  expect(told.map(({ path }) => path)).toEqual(read.map(({ name }) => name));
  expect(told).toHaveLength(49);
});

test('a file is a tree of one entry, and sockets are none', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(dir, 'socket'), resolve));
  writeFileSync(join(dir, 'f'), 'text', { mode: 0o600 });
  const file = { path: 'f', kind: 'file', mode: 0o600, sizeBytes: 4 };
  expect(await scan()).toMatchObject([file]);
  expect(await all(listTree(dir))).toHaveLength(1);
  expect(await all(scanTree(join(dir, 'f')))).toMatchObject([file]);
  await new Promise((resolve) => server.close(resolve));
});

test('a link whose target is not UTF-8 is a typed error, for it would lead elsewhere', async () => {
  symlinkSync(Buffer.of(0xff, 0x41), join(dir, 'link'));
  await expect(scan()).rejects.toThrow(expect.objectContaining({ code: 'HostFile' }));
});

test('a scan can be cancelled, also in the middle of a file', async () => {
  writeFileSync(join(dir, 'f'), 'x'.repeat(200_000));
  await expect(scan({ signal: AbortSignal.abort() })).rejects.toThrow(
    expect.objectContaining({ code: 'Cancelled' }),
  );
  const controller = new AbortController();
  const cancelling = scan({
    signal: controller.signal,
    select: () => {
      queueMicrotask(() => controller.abort());
      return true;
    },
  });
  await expect(cancelling).rejects.toThrow(expect.objectContaining({ code: 'Cancelled' }));
});
