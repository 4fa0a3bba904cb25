import { createHash } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import type { FailpointName } from '../../src/vm/index.ts';
import {
  nameOf,
  putTogether,
  rewrite,
  rewriteJson,
  takeApart,
  withFlippedBits,
} from '../vm/archive-surgery.ts';
import { everythingOf } from '../vm/portable-fixture.ts';
import {
  type CacheFixture,
  entriesOf,
  exportAll,
  importAll,
  noteOf,
  openEmptyCache,
  openFullCache,
  runStep,
} from './portable-cache-fixture.ts';

interface Attachment {
  entries: {
    key: string;
    snapshot: string;
    parent?: string;
    sizeBytes: number;
    createdAtMs: number;
    durationMs: number;
    output: string;
    inputs?: string;
  }[];
}

interface Index {
  snapshots: { vmId: string }[];
  parts: string[];
  members: { name: string; sizeBytes: number; sha256: string }[];
}

/** A good archive of the entries `base`, `build` and `test`, and an empty cache that nothing may change. */
let archive: Buffer;
let elsewhere: CacheFixture;
let before: unknown;
beforeAll(async () => {
  await using origin = await openFullCache();
  archive = await exportAll(origin);
  elsewhere = await openEmptyCache();
  before = everythingOf(elsewhere.vm);
});
afterAll(() => elsewhere[Symbol.asyncDispose]());

async function expectRefused(bytes: Uint8Array, expected: object = {}): Promise<void> {
  await expect(importAll(elsewhere, bytes, 500)).rejects.toMatchObject({
    code: 'ArchiveInvalid',
    ...expected,
  });
  expect(everythingOf(elsewhere.vm)).toEqual(before);
  expect(readdirSync(join(elsewhere.vm.root, 'tmp'))).toEqual([]);
  expect(elsewhere.vm.warnings).toEqual([]);
  expect(elsewhere.warnings).toEqual([]);
}

/** Replaces a member's bytes, with a list and checksums that fit, as one would who makes an archive. */
function withMember(name: string, change: (content: Buffer) => Buffer): Buffer {
  const entries = takeApart(zstdDecompressSync(archive));
  const [index] = entries;
  const entry = entries.find((one) => nameOf(one) === name);
  if (!index || !entry) throw new Error(`there is no ${name}`);
  entry.content = change(entry.content);
  const sha256 = createHash('sha256').update(entry.content).digest('hex');
  const newName = name === 'attachment' ? name : `files/${sha256}`;
  rewrite(entry.header, { name: newName, sizeBytes: entry.content.length });
  rewriteJson<Index>(index, ({ members, parts }) => {
    const member = members.find((one) => one.name === name);
    if (member) Object.assign(member, { name: newName, sha256, sizeBytes: entry.content.length });
    const at = parts.indexOf(name.slice('files/'.length));
    if (at >= 0) parts[at] = sha256;
  });
  return putTogether(entries);
}

function attachmentOf(bytes: Buffer): Attachment {
  const entry = takeApart(zstdDecompressSync(bytes)).find((one) => nameOf(one) === 'attachment');
  return JSON.parse(entry?.content.toString() ?? '') as Attachment;
}

const withAttachment = (change: (attachment: Attachment) => unknown) =>
  withMember('attachment', (content) => {
    const attachment = JSON.parse(content.toString()) as Attachment;
    change(attachment);
    return Buffer.from(JSON.stringify(attachment));
  });

const withEntry = (change: (entry: Attachment['entries'][number]) => unknown) =>
  withAttachment(({ entries }) => change(entries[1] ?? expect.unreachable()));

/** Replaces a part that an entry names. */
function withPart(of: 'output' | 'inputs', content: Buffer): Buffer {
  const entry = attachmentOf(archive).entries.find((one) => one[of] !== undefined);
  const old = entry?.[of] ?? expect.unreachable();
  const whole = archive;
  archive = withMember(`files/${old}`, () => content);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const changed = withAttachment(({ entries }) => {
    for (const one of entries) if (one[of] === old) one[of] = sha256;
  });
  archive = whole;
  return changed;
}

const attachments: readonly [name: string, make: () => Buffer, says: string][] = [
  ['no JSON', () => withMember('attachment', () => Buffer.from('{')), 'no JSON'],
  ['no UTF-8', () => withMember('attachment', () => Buffer.from([0x22, 0xff, 0x22])), 'no JSON'],
  ['nothing', () => withMember('attachment', () => Buffer.alloc(0)), 'no JSON'],
  ['of another format', () => withAttachment((a) => Object.assign(a, { format: 'tar' })), 'format'],
  ['of a later version', () => withAttachment((a) => Object.assign(a, { version: 2 })), 'version'],
  ['with a field that nobody knows', () => withAttachment((a) => Object.assign(a, { extra: 1 })), 'extra'],
  ['with an entry of no snapshot', () => withEntry((entry) => (entry.snapshot = 'a/b')), 'other snapshots'],
  ['with a snapshot of no entry', () => withAttachment((a) => a.entries.pop()), 'other snapshots'],
  [
    'with two entries of one snapshot',
    () => withAttachment(({ entries: [a, b] }) => a && b && Object.assign(b, { snapshot: a.snapshot })),
    'other snapshots',
  ],
  ['with two entries of one key', () => withEntry((entry) => (entry.key = 'base')), 'two entries of one key'],
  ['with an empty key', () => withEntry((entry) => (entry.key = '')), 'key'],
  ['with a key that drives terminals', () => withEntry((entry) => (entry.key = '\u001b[2J')), 'key'],
  ['with an endless key', () => withEntry((entry) => (entry.key = 'k'.repeat(1025))), 'key'],
  [
    'with a parent that is not there',
    () => withEntry((entry) => (entry.parent = 'nobody')),
    'one that is not there',
  ],
  [
    'with an entry that descends from itself',
    () => withEntry((entry) => (entry.parent = 'build')),
    'descends from itself',
  ],
  [
    'with entries in a circle',
    () => withAttachment(({ entries: [base] }) => base && Object.assign(base, { parent: 'test' })),
    'descends from itself',
  ],
  ['with a negative size', () => withEntry((entry) => (entry.sizeBytes = -1)), 'sizeBytes'],
  [
    'with a size that cannot be counted',
    () => withEntry((entry) => (entry.sizeBytes = 2 ** 60)),
    'sizeBytes',
  ],
  ['with a time that is none', () => withEntry((entry) => (entry.createdAtMs = 1.5)), 'createdAtMs'],
  ['with a duration before it began', () => withEntry((entry) => (entry.durationMs = -1)), 'durationMs'],
  ['with an exit code', () => withEntry((entry) => Object.assign(entry, { exitCode: 1 })), 'exitCode'],
  ['with an output that is a path', () => withEntry((entry) => (entry.output = '../../x')), 'output'],
  [
    'with an output that is not there',
    () => withEntry((entry) => (entry.output = '0'.repeat(64))),
    'a part that is not there',
  ],
  [
    'with output that cannot be read',
    () => withPart('output', Buffer.from('\u0001text')),
    'output of an entry',
  ],
  [
    'with output of another format',
    () => withPart('output', Buffer.from('\u0002text')),
    'output of an entry',
  ],
];

test.each(attachments)(
  'a list of entries that is %s is refused, and leaves nothing',
  async (_, make, says) => {
    await expectRefused(make(), { message: expect.stringContaining(says), details: { problem: 'refused' } });
  },
);

test.each([
  ['no JSON', '{'],
  ['a list', '[]'],
  ['values that are none', '{"values":{"command":{"secret":"x"}},"trees":[]}'],
  [
    'a tree of what there is not',
    '{"values":{},"trees":[{"to":"/","digest":"x","entries":[{"path":"a","kind":"socket","mode":0}]}]}',
  ],
  [
    'a tree with an impossible mode',
    '{"values":{},"trees":[{"to":"/","digest":"x","entries":[{"path":"a","kind":"file","mode":65536}]}]}',
  ],
])('inputs that are %s are refused, and leave nothing', async (_, json) => {
  await using origin = await openFullCache({ steps: [] });
  await origin.executor.execute({ source: { snapshot: 'vm/s1' }, command: 'make it' }, { auto: 'forever' });
  await origin.executor.settled();
  const whole = archive;
  archive = await exportAll(origin);
  const changed = withPart('inputs', Buffer.from(json));
  archive = whole;
  await expectRefused(changed, { message: expect.stringContaining('inputs of an entry') });
});

test('a bit that flips anywhere, and a cut anywhere, leave nothing', async () => {
  for (const flipped of withFlippedBits(archive, 40)) await expectRefused(flipped);
  for (let cut = 0; cut < 20; cut++)
    await expectRefused(archive.subarray(0, Math.floor((archive.length * cut) / 20)));
});

test('an entry from the future is of now', async () => {
  await using other = await openEmptyCache();
  const nowMs = other.vm.clock.now();
  const { added } = await importAll(
    other,
    withEntry((entry) => (entry.createdAtMs = 2 ** 50)),
  );
  expect(added.find(({ key }) => key === 'build')?.createdAtMs).toBe(nowMs);
});

test('names of snapshots in an archive are not taken', async () => {
  await using other = await openFullCache({ steps: ['own'] });
  const own = (await entriesOf(other))[0]?.[1] ?? 'none/none';
  const [vmId] = own.split('/');
  const index = takeApart(zstdDecompressSync(archive))[0];
  const names = (JSON.parse(index?.content.toString() ?? '') as Index).snapshots.map((one) => one.vmId);
  await importAll(other, archive);
  for (const [key, ref] of await entriesOf(other)) {
    if (key !== 'own') expect([...names, vmId, 'vm']).not.toContain(ref.split('/')[0]);
  }
  expect(await noteOf(other, own)).toBe('s1 own');
});

test('an import that is cancelled at any step leaves nothing', async () => {
  const steps: string[] = [];
  await using other = await openEmptyCache();
  const chunks = async function* () {
    for (let at = 0; at < archive.length; at += 300) yield archive.subarray(at, at + 300);
  };
  await other.executor.cache.import(chunks(), { onProgress: (step) => void steps.push(step) });
  expect(steps.length).toBeGreaterThan(6);
  for (const at of steps) {
    const abort = new AbortController();
    const importing = elsewhere.executor.cache.import(chunks(), {
      signal: abort.signal,
      onProgress: (step) => step === at && abort.abort(),
    });
    await expect(importing).rejects.toHaveProperty('code', 'Cancelled');
    expect(everythingOf(elsewhere.vm)).toEqual(before);
  }
});

const importSteps = ['import.unpacked', 'import.journalled', 'import.placed', 'import.committed'] as const;

describe('an engine that is killed while it imports', () => {
  test.each(importSteps)(
    'at %s has neither entry without snapshot nor snapshot without entry',
    async (step) => {
      const reached = Promise.withResolvers<void>();
      let armed = true;
      const failpoint = (name: FailpointName) => {
        if (!armed || name !== step) return undefined;
        reached.resolve();
        return new Promise<void>(() => undefined);
      };
      await using empty = await openEmptyCache();
      await using fixture = await openEmptyCache({ vm: { failpoint } });
      void importAll(fixture, archive);
      await reached.promise;
      armed = false;
      await fixture.vm.crash();
      rmSync(join(fixture.vm.root, 'tmp'), { recursive: true }); // Emptied by whoever takes the state directory.
      await fixture.open();
      expect(fixture.mended, 'of one transaction nothing is to be mended').toEqual([]);
      if (step !== 'import.committed')
        return expect(everythingOf(fixture.vm)).toEqual(everythingOf(empty.vm));
      const entries = await entriesOf(fixture);
      expect(entries.map(([key]) => key)).toEqual(['test', 'build', 'base']);
      expect(await noteOf(fixture, entries[0]?.[1] ?? 'none/none')).toBe('s1 base build test');
      expect(readdirSync(join(fixture.vm.root, 'snapshots'))).toHaveLength(3);
      expect((await fixture.vm.reopen()).mended).toEqual([]);
    },
  );

  test('after it had put entries out of the cache lets go of their snapshots when it opens again', async () => {
    const reached = Promise.withResolvers<void>();
    let armed = true;
    const failpoint = (name: FailpointName) => {
      if (!armed || name !== 'import.committed') return undefined;
      reached.resolve();
      return new Promise<void>(() => undefined);
    };
    const limits = { maxEntries: 1, maxBytes: 2 ** 40, reservedBytes: 0 };
    await using fixture = await openFullCache({ limits, steps: ['own'], vm: { failpoint } });
    void importAll(fixture, archive);
    await reached.promise;
    armed = false;
    await fixture.vm.crash();
    await fixture.open();
    expect(fixture.mended).toMatchObject([expect.stringContaining('of an action that is not cached')]);
    const entries = await entriesOf(fixture);
    const made = fixture.vm.runtime.snapshots.labelled('alcove.cache').map(({ ref }) => ref);
    expect(made.sort()).toEqual(entries.map(([, ref]) => ref).sort());
  });
});

test.each(['import.unpacked', 'import.journalled', 'import.placed'] as const)(
  'an import that fails at %s takes everything back, and can be repeated',
  async (step) => {
    let times = 1;
    const failpoint = async (name: FailpointName) => {
      if (name === step && times-- > 0) throw new Error('no luck');
    };
    await using fixture = await openEmptyCache({ vm: { failpoint } });
    const empty = everythingOf(fixture.vm);
    await expect(importAll(fixture, archive)).rejects.toThrow('no luck');
    expect(everythingOf(fixture.vm)).toEqual(empty);
    expect((await importAll(fixture, archive)).added).toHaveLength(3);
    expect(fixture.vm.warnings).toEqual([]);
  },
);

test('a disk that is full is named, and nothing is left', async () => {
  const dir = join(elsewhere.vm.root, '..', `small-cache-${process.pid}`);
  await runTool('mkdir', [dir]);
  await runTool('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', dir]);
  onTestFinished(async () => {
    await runTool('umount', [dir]);
    await runTool('rmdir', [dir]);
  });
  await using origin = await openFullCache({ steps: [] });
  const noise = Buffer.from(Array.from({ length: 300 << 10 }, (_, i) => (Math.sin(i) * 1e9) & 0xff));
  await (await origin.vm.runtime.guest('vm')).files.write('/root/noise', noise);
  await origin.vm.runtime.snapshot('vm', { id: 'large' });
  await runStep(origin, 'large', 'vm/large');
  const large = await exportAll(origin);
  for (const free of [16, 64, 256]) {
    const databasePath = join(elsewhere.vm.root, `${free}.db`);
    await using small = await openEmptyCache({ vm: { parentDir: dir, databasePath } });
    await runTool('dd', ['if=/dev/zero', `of=${join(dir, 'filler')}`, 'bs=1k', 'count=512']).catch(
      () => undefined,
    );
    await runTool('truncate', ['-s', `-${free}K`, join(dir, 'filler')]);
    const empty = everythingOf(small.vm);
    await expect(importAll(small, large)).rejects.toHaveProperty('code', 'StateUnusable');
    expect(everythingOf(small.vm)).toEqual(empty);
    expect(readdirSync(join(small.vm.root, 'tmp'))).toEqual([]);
    expect([...small.vm.warnings, ...small.warnings]).toEqual([]);
    await runTool('rm', [join(dir, 'filler')]);
  }
});
