/** Host folders in guests of the memory backend, and what is told of them. */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { inject, injectedTree } from '../../src/executor/inject/index.ts';
import type { GuestFiles } from '../../src/guest/index.ts';
import { openFixture } from '../vm/runtime-fixture.ts';
import { emptyFolder, readTree, tree, writeTree } from './host-tree.ts';

let host: string;

beforeEach(() => {
  host = mkdtempSync(join(tmpdir(), 'inject-'));
});

afterEach(() => rmSync(host, { recursive: true }));

const failure = (code: string, details?: object) =>
  expect.objectContaining({ code, ...(details && { details: expect.objectContaining(details) }) });

describe('the digest of a tree', () => {
  const digestOf = async (from: string) =>
    (await injectedTree({ from, to: '/src', ignore: 'nothing' })).digest;

  test('is the same whatever the times, the order of creation and the path of the folder', async () => {
    await fc.assert(
      fc.asyncProperty(tree, async (tree) => {
        const [one, other] = [join(host, 'one'), join(host, 'some/where/else')];
        for (const at of [one, other]) emptyFolder(at);
        writeTree(one, tree);
        writeTree(other, tree, { reverse: true });
        for (const path of readTree(other).keys()) utimes(join(other, path));
        expect(await digestOf(other)).toBe(await digestOf(one));
      }),
      { numRuns: 50 },
    );
  });

  test('is another one for any other name, kind, content, mode or target', async () => {
    await fc.assert(
      fc.asyncProperty(tree, tree, async (before, after) => {
        const [one, other] = [join(host, 'one'), join(host, 'other')];
        for (const at of [one, other]) emptyFolder(at);
        writeTree(one, before);
        writeTree(other, after);
        const same = JSON.stringify([...readTree(one)]) === JSON.stringify([...readTree(other)]);
        expect((await digestOf(one)) === (await digestOf(other))).toBe(same);
      }),
      { numRuns: 100 },
    );
  });

  test.each<[string, () => void]>([
    ['content', () => writeFileSync(join(host, 'dir/file'), 'other')],
    ['mode', () => chmodSync(join(host, 'dir/file'), 0o755)],
    ['mode of a directory', () => chmodSync(join(host, 'dir'), 0o700)],
    ['name', () => renameSync(join(host, 'dir/file'), join(host, 'dir/file2'))],
    ['place', () => renameSync(join(host, 'dir/file'), join(host, 'file'))],
    [
      'target',
      () => {
        rmSync(join(host, 'link'));
        symlinkSync('dir', join(host, 'link'));
      },
    ],
    [
      'kind',
      () => {
        rmSync(join(host, 'link'));
        writeFileSync(join(host, 'link'), 'dir/file');
      },
    ],
    ['empty folder', () => mkdirSync(join(host, 'dir/empty'))],
  ])('is another one for another %s alone', async (_what, change) => {
    writeTree(host, {
      dir: { mode: 0o755, children: { file: { mode: 0o644, text: 'text' } } },
      link: { mode: 0o777, target: 'dir/file' },
    });
    const before = await digestOf(host);
    change();
    expect(await digestOf(host)).not.toBe(before);
  });
});

test.each([
  [{ to: 'src' }, 'InvalidInput'],
  [{ to: '' }, 'InvalidInput'],
  [{ to: '/a\0b' }, 'InvalidInput'],
  [{ to: '/', mirror: true as const }, 'InvalidInput'],
  [{ to: '/x/..', mirror: true as const }, 'InvalidInput'],
  [{ from: '/no/such/folder' }, 'HostFile'],
  [{ from: '/etc/passwd' }, 'HostFile'],
])('%j is refused before anything happens', async (change, code) => {
  const injection = { from: host, to: '/src', ...change };
  await expect(injectedTree(injection)).rejects.toThrow(failure(code));
  await using fixture = await openFixture();
  await fixture.runtime.create({ id: 'vm', image: 'builtin' });
  await fixture.runtime.start('vm');
  const { files } = await fixture.runtime.guest('vm');
  await expect(inject(files, injection)).rejects.toThrow(failure(code));
});

test('a folder comes into a guest, without what .gitignore leaves out, and what was sent is told', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  await runtime.start('vm');
  const { files } = await runtime.guest('vm');
  writeTree(host, {
    '.git': { mode: 0o755, children: { HEAD: { mode: 0o644, text: 'ref' } } },
    '.gitignore': { mode: 0o644, text: '*.o\n' },
    'main.c': { mode: 0o600, text: 'int main;' },
    'main.o': { mode: 0o644, text: 'object' },
    empty: { mode: 0o755, children: {} },
    link: { mode: 0o777, target: 'main.c' },
  });
  const doing: string[] = [];
  const sent = await inject(files, { from: host, to: '/src/' }, { onProgress: (step) => doing.push(step) });
  expect(sent).toEqual(await injectedTree({ from: host, to: '/src' }));
  expect(sent).toMatchObject({ to: '/src', digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) });
  expect(sent.entries.map(({ path }) => path)).toEqual(['.gitignore', 'empty', 'link', 'main.c']);
  expect(await namesIn(files, '/src')).toEqual(['.gitignore', 'empty', 'link', 'main.c']);
  expect(await files.stat('/src/main.c')).toMatchObject({
    kind: 'file',
    mode: 0o600,
    size: 9,
    uid: 0,
    gid: 0,
  });
  expect(await files.stat('/src/link')).toMatchObject({ kind: 'symlink', target: 'main.c' });
  expect(doing).toEqual([`copying ${host} to /src`]);

  const all = await inject(files, { from: host, to: '/all', ignore: 'nothing', owner: { uid: 5, gid: 6 } });
  expect(all.entries.map(({ path }) => path)).toEqual(['.gitignore', 'empty', 'link', 'main.c', 'main.o']);
  expect(await files.stat('/all/main.o')).toMatchObject({ uid: 5, gid: 6 });
});

test('deleted files kept by inject: a mirror removes them, and leaves alone what the rules leave out', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  await runtime.start('vm');
  const { files } = await runtime.guest('vm');
  writeTree(host, {
    '.gitignore': { mode: 0o644, text: '*.o\ncache/\n' },
    kept: { mode: 0o644, text: '' },
    gone: { mode: 0o644, text: '' },
    dir: { mode: 0o755, children: { gone: { mode: 0o644, text: '' } } },
  });
  const injection = { from: host, to: '/src', mirror: true as const };
  const first = await inject(files, injection);
  await files.write('/src/built.o', 'object');
  await files.mkdir('/src/cache/deep', { parents: true });
  await files.write('/src/cache/deep/x', '');
  await files.write('/src/stray', '');
  rmSync(join(host, 'gone'));
  rmSync(join(host, 'dir'), { recursive: true });
  expect(await inject(files, injection)).toEqual(await injectedTree(injection));
  expect(await namesIn(files, '/src')).toEqual(['.gitignore', 'built.o', 'cache', 'kept']);
  expect(await namesIn(files, '/src/cache/deep')).toEqual(['x']);
  expect(await namesIn(files, '/src/cache')).toEqual(['deep']);
  // The rules decide what a mirror keeps, so they are among what it depends on.
  expect(first.rules).toMatch(/^[0-9a-f]{64}$/);
  writeFileSync(join(host, '.gitignore'), '*.o\n');
  expect((await injectedTree(injection)).rules).not.toBe(first.rules);
});

async function namesIn(files: GuestFiles, path: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { path: at } of files.list(path)) names.push(at.slice(at.lastIndexOf('/') + 1));
  return names;
}

function utimes(path: string): void {
  try {
    utimesSync(path, 1, 1);
  } catch {
    // A link that leads nowhere.
  }
}
