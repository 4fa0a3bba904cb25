/** A cache of real machines that moves into a state directory which has neither its image nor its kernel. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Alcove, openAlcove } from '../../src/engine/index.ts';
import type { CacheImportReport } from '../../src/executor/index.ts';
import type { SnapshotRef } from '../../src/vm/index.ts';
import { nameOf, takeApart } from '../vm/archive-surgery.ts';
import { bytesOf, chunksOf } from '../vm/portable-fixture.ts';

const roots = [0, 1].map(() => mkdtempSync(join(tmpdir(), 'alcove-qemu-')));
const [root = '', otherRoot = ''] = roots;
let origin: Alcove;
let elsewhere: Alcove;
let archive: Buffer;
let report: CacheImportReport;
/** Digests of what each step wrote, as its guest saw them. */
const written: string[] = [];

/** Each writes a mebibyte that no compression makes smaller; the last leaves a process behind. */
const steps = [
  { key: 'first', command: 'head -c 1M /dev/urandom > /root/first; sha256sum < /root/first' },
  {
    key: 'second',
    command:
      'head -c 1M /dev/urandom > /root/second; sha256sum < /root/second; (while :; do date +%N > /run/alive; sleep 0.05; done) > /dev/null 2>&1 &',
    memory: true,
  },
] as const;

beforeAll(async () => {
  origin = await openAlcove({ stateDir: root, backend: 'qemu' });
  let source: { image: string } | { snapshot: SnapshotRef } = { image: 'builtin' };
  for (const { key, ...action } of steps) {
    const { snapshot, stdout } = await origin.execute({ source, ...action }, { cache: key });
    written.push(stdout);
    source = { snapshot: snapshot ?? 'none/none' };
  }
  archive = await bytesOf(origin.cache.export());
  elsewhere = await openAlcove({ stateDir: otherRoot, backend: 'qemu' });
  report = await elsewhere.cache.import(chunksOf(archive));
});

afterAll(async () => {
  await origin?.[Symbol.asyncDispose]();
  await elsewhere?.[Symbol.asyncDispose]();
  for (const dir of roots) rmSync(dir, { recursive: true });
});

test('the archive has each file once, however many snapshots share it', () => {
  const [index, ...members] = takeApart(zstdDecompressSync(archive));
  const { snapshots, images, parts } = JSON.parse(index?.content.toString() ?? '') as {
    snapshots: { manifest: { files: Record<string, { sha256: string }> } }[];
    images: unknown[];
    parts: string[];
  };
  const files = snapshots.flatMap(({ manifest }) =>
    Object.values(manifest.files).map(({ sha256 }) => sha256),
  );
  expect(snapshots).toHaveLength(2);
  expect(images).toHaveLength(1);
  expect(new Set(files).size, 'they share the layers of the first').toBeLessThan(files.length);
  const names = members.map(nameOf);
  expect(new Set(names).size).toBe(names.length);
  const expected = new Set([...parts, ...files].map((sha256) => `files/${sha256}`));
  expect(names.slice(0, -4)).toEqual(['attachment', ...expected]);
  expect(names.at(-1)).toBe('checksum'); // After image, kernel and initramfs.
});

test('layers that were shared are shared, and seals hold from the start', async () => {
  const inodes = filesBelow(join(otherRoot, 'snapshots')).map((path) => statSync(path).ino);
  const originals = filesBelow(join(root, 'snapshots')).map((path) => statSync(path).ino);
  expect(inodes).toHaveLength(originals.length);
  expect(new Set(inodes).size).toBeLessThanOrEqual(new Set(originals).size);
  const bytes = new Set(filesBelow(join(otherRoot, 'snapshots')).map((path) => readFileSync(path, 'latin1')));
  expect(new Set(inodes).size).toBe(bytes.size);
  const progress: string[] = [];
  const vm = await elsewhere.restore(
    report.added[1]?.snapshot ?? 'none/none',
    {},
    { onProgress: (step) => void progress.push(step) },
  );
  await vm.destroy();
  expect(progress.filter((step) => step.startsWith('checking'))).toEqual([]);
});

test('both are hits there, and what starts from them has the same bytes', async () => {
  expect(report.added.map(({ key }) => key)).toEqual(['first', 'second']);
  const [first, second] = report.added;
  expect(second?.parent).toBe(first?.snapshot);
  for (const [index, { key, ...action }] of steps.entries()) {
    const source = { snapshot: report.added[index]?.snapshot ?? 'none/none' } as const;
    const hit = await elsewhere.execute({ source, ...action }, { cache: key });
    expect(hit).toMatchObject({ cached: true, stdout: written[index], snapshot: source.snapshot });
    for (const [earlier, { key: name }] of steps.slice(0, index + 1).entries()) {
      const read = await elsewhere.execute({ source, command: `sha256sum < /root/${name}` });
      expect(read.stdout).toBe(written[earlier]);
    }
  }
});

test('a process that was kept in memory goes on there', async () => {
  const source = { snapshot: report.added[1]?.snapshot ?? 'none/none' } as const;
  const { stdout } = await elsewhere.execute({
    source,
    command: 'was=$(cat /run/alive); while [ "$(cat /run/alive)" = "$was" ]; do sleep 0.05; done; echo alive',
    timeoutMs: 30_000,
  });
  expect(stdout).toBe('alive\n');
});

test('it goes back to where it came from, and changes nothing there', async () => {
  const before = await origin.cache.list();
  const back = await origin.cache.import(elsewhere.cache.export());
  expect(back).toEqual({ added: [], kept: ['first', 'second'], skipped: [] });
  expect(await origin.cache.list()).toEqual(before);
});

test('when the entries go, so do their files', async () => {
  const made = report.added.map(({ snapshot }) => snapshot);
  const before = readdirSync(join(otherRoot, 'snapshots')).length;
  await elsewhere.cache.remove(['first', 'second']);
  for (const ref of made) expect(await elsewhere.snapshots.get(ref)).toBeUndefined();
  expect(readdirSync(join(otherRoot, 'snapshots'))).toHaveLength(before - 2);
});

/** Of snapshots, without what says what they are. */
function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .map((name) => join(dir, name))
    .filter((path) => statSync(path).isFile() && !path.endsWith('manifest.json'));
}
