import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { link } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HeldDirectory } from './held-directory.ts';
import { takeName } from './take-name.ts';

const first = { sessionId: 's', stamp: '20300102T030405Z', sequence: 1 };
const noLinks: typeof link = async () => {
  throw Object.assign(new Error('no links here'), { code: 'EPERM' });
};

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'alcove-name-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const put = (name: string, text: string) => writeFileSync(join(dir, name), text);
const there = (name: string) => readFileSync(join(dir, name), 'utf8');

async function take(from: string, linkFile: typeof link): Promise<string> {
  put(`${from}.tar`, `tar ${from}`);
  put(`${from}.json`, `manifest ${from}`);
  await using directory = await HeldDirectory.open(dir);
  return await takeName(directory, { tar: `${from}.tar`, manifest: `${from}.json` }, first, linkFile);
}

describe.each([
  ['with hard links', link],
  ['without hard links', noLinks],
])('on a file system %s', (_what, linkFile) => {
  test('both files get the name', async () => {
    expect(await take('a', linkFile)).toBe('s-20300102T030405Z.tar.zst');
    expect(there('s-20300102T030405Z.tar.zst')).toBe('tar a');
    expect(there('s-20300102T030405Z.json')).toBe('manifest a');
  });

  test('many at once each get one of their own, tar and manifest together', async () => {
    const letters = [...'abcdefghij'];
    const names = await Promise.all(letters.map((letter) => take(letter, linkFile)));
    expect(new Set(names).size).toBe(letters.length);
    for (const [at, name] of names.entries()) {
      expect(there(name)).toBe(`tar ${letters[at]}`);
      expect(there(name.replace('.tar.zst', '.json'))).toBe(`manifest ${letters[at]}`);
    }
  });

  test.each([
    ['a tar without a manifest', 's-20300102T030405Z.tar.zst'],
    ['a manifest without a tar', 's-20300102T030405Z.json'],
  ])('%s is not replaced', async (_what, name) => {
    put(name, 'by hand');
    expect(await take('a', linkFile)).toBe('s-20300102T030405Z-2.tar.zst');
    expect(there(name)).toBe('by hand');
    const named = readdirSync(dir).filter((each) => each.startsWith('s-'));
    expect(named.sort()).toEqual([name, 's-20300102T030405Z-2.json', 's-20300102T030405Z-2.tar.zst'].sort());
  });

  test('no name is left when the tar cannot be named', async () => {
    put('a.json', 'manifest');
    await using directory = await HeldDirectory.open(dir);
    const taking = takeName(directory, { tar: 'missing', manifest: 'a.json' }, first, linkFile);
    await expect(taking).rejects.toMatchObject({ code: 'ENOENT' });
    expect(readdirSync(dir)).toEqual(['a.json']);
  });
});
