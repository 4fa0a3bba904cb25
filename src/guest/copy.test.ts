/** Copies between this host and the real agent, whose root is this host's too. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RealAgent } from '../../test/guest/real-agent.ts';
import { copyIn, copyOut } from './copy.ts';
import type { GuestChannel } from './guest-channel.ts';

let agent: RealAgent;
let guest: GuestChannel;
let dir: string;

beforeAll(async () => {
  agent = new RealAgent();
  guest = await agent.connect();
});

afterAll(async () => {
  await guest[Symbol.asyncDispose]();
  await agent[Symbol.asyncDispose]();
});

beforeEach(() => {
  dir = mkdtempSync(join(agent.dir, 'copy-'));
  mkdirSync(join(dir, 'tree/sub'), { recursive: true });
  writeFileSync(join(dir, 'tree/sub/f'), 'in the tree', { mode: 0o750 });
  symlinkSync('sub/f', join(dir, 'tree/link'));
  writeFileSync(join(dir, 'file'), 'the file');
  mkdirSync(join(dir, 'there'));
  symlinkSync('there', join(dir, 'to-there'));
  symlinkSync('tree', join(dir, 'to-tree'));
  writeFileSync(join(dir, 'existing'), 'old');
});

const failure = (code: string, details?: object) =>
  expect.objectContaining({ code, ...(details && { details: expect.objectContaining(details) }) });

/** Paths of files and links below `dir`, other than those that were there, with what is in them. */
function added(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(dir.length + 1);
    if (/^(tree|file$|to-)/.test(name)) continue;
    if (entry.isSymbolicLink()) found[name] = `-> ${readlinkSync(path)}`;
    else if (entry.isFile()) found[name] = readFileSync(path, 'utf8');
  }
  return found;
}

const directions = [
  ['into the guest', (from: string, to: string) => copyIn(guest, from, to)],
  ['out of the guest', (from: string, to: string) => copyOut(guest, from, to)],
] as const;

const inTheTree = { 'sub/f': 'in the tree', link: '-> sub/f' };

function below(prefix: string, files: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [prefix + name, text]));
}

describe.each(directions)('%s', (_name, copy) => {
  const old = { existing: 'old' };

  test.each<[string, string, string, Record<string, string>]>([
    ['a file to a new name', 'file', 'new', { ...old, new: 'the file' }],
    ['a file over a file', 'file', 'existing', { existing: 'the file' }],
    ['a file into a directory', 'file', 'there', { ...old, 'there/file': 'the file' }],
    ['a file into a directory with a slash', 'file', 'there/', { ...old, 'there/file': 'the file' }],
    ['a file into a directory behind a link', 'file', 'to-there', { ...old, 'there/file': 'the file' }],
    ['a directory to a new name', 'tree', 'new', { ...old, ...below('new/', inTheTree) }],
    ['a directory to a new name with a slash', 'tree', 'new/', { ...old, ...below('new/', inTheTree) }],
    ['a directory into a directory', 'tree', 'there', { ...old, ...below('there/tree/', inTheTree) }],
    [
      'a directory with a slash into a directory',
      'tree/',
      'there',
      { ...old, ...below('there/tree/', inTheTree) },
    ],
    ['the contents of a directory', 'tree/.', 'there', { ...old, ...below('there/', inTheTree) }],
    ['the contents of a directory to a new name', 'tree/.', 'new', { ...old, ...below('new/', inTheTree) }],
    ['what a link leads to, under its name', 'tree/link', 'there', { ...old, 'there/link': 'in the tree' }],
    [
      'a directory that a link leads to',
      'to-tree',
      'there',
      { ...old, ...below('there/to-tree/', inTheTree) },
    ],
    ['the contents of one', 'to-tree/.', 'there', { ...old, ...below('there/', inTheTree) }],
  ])('%s', async (_case, from, to, expected) => {
    await copy(`${dir}/${from}`, `${dir}/${to}`);
    expect(added()).toEqual(expected);
  });

  test('modes and times are kept, also of the directory itself', async () => {
    await copy(join(dir, 'tree'), join(dir, 'new'));
    const [from, to] = ['tree/sub/f', 'new/sub/f'].map((name) => statSync(join(dir, name)));
    expect(to?.mode).toBe(from?.mode);
    expect(to?.mtimeMs).toBeCloseTo(from?.mtimeMs ?? 0, 2);
    expect(statSync(join(dir, 'new')).mtimeMs).toBeCloseTo(statSync(join(dir, 'tree')).mtimeMs, 2);
  });

  test('nothing is copied to where its directory is missing', async () => {
    await expect(copy(join(dir, 'file'), join(dir, 'no/such/file'))).rejects.toThrow(
      expect.objectContaining({
        details: expect.objectContaining({ path: join(dir, 'no/such'), errno: 'ENOENT' }),
      }),
    );
    expect(existsSync(join(dir, 'no'))).toBe(false);
  });

  test('a directory is not copied over a file, nor a file to a directory that is missing', async () => {
    await expect(copy(join(dir, 'tree'), join(dir, 'existing'))).rejects.toThrow(
      failure('InvalidInput', { field: 'destination' }),
    );
    await expect(copy(join(dir, 'file'), `${join(dir, 'missing')}/`)).rejects.toThrow(
      failure('InvalidInput', { field: 'destination' }),
    );
    expect(added()).toEqual(old);
  });

  test('what does not exist is a typed error', async () => {
    await expect(copy(join(dir, 'nope'), join(dir, 'new'))).rejects.toThrow(
      expect.objectContaining({
        details: expect.objectContaining({ path: join(dir, 'nope'), errno: 'ENOENT' }),
      }),
    );
  });

  test('it can be cancelled before it begins', async () => {
    const signal = AbortSignal.abort();
    const options = { signal };
    await expect(copyIn(guest, join(dir, 'file'), join(dir, 'new'), options)).rejects.toThrow(
      failure('Cancelled'),
    );
    await expect(copyOut(guest, join(dir, 'file'), join(dir, 'new'), options)).rejects.toThrow(
      failure('Cancelled'),
    );
  });
});
