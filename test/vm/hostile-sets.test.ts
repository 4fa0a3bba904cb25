import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Entry,
  nameOf,
  putTogether,
  rewrite,
  rewriteJson,
  takeApart,
  withFlippedBits,
} from './archive-surgery.ts';
import { bytesOf, chunksOf, everythingOf, openElsewhere, openOrigin, sha256Of } from './portable-fixture.ts';
import type { RuntimeFixture } from './runtime-fixture.ts';

interface Index {
  snapshots: {
    vmId: string;
    id: string;
    role: string;
    parent?: number;
    manifest: {
      needsParent: boolean;
      imageDigest: string;
      files: Record<string, { sizeBytes: number; sha256: string }>;
    };
    blueprint: { image: { digest: string }; shape: { kernel: { kernelDigest: string } } };
  }[];
  images: { digest: string; sha256: string }[];
  parts: string[];
  members: { name: string; sizeBytes: number; sha256: string }[];
}

/** A good archive of two snapshots, the newer of which builds on the older one; and an empty state directory that nothing may change. */
let archive: Buffer;
let elsewhere: RuntimeFixture;
let before: unknown;
const partBytes = Buffer.from('a part');
const part = sha256Of(partBytes).slice(7);

beforeAll(async () => {
  await using origin = await openOrigin({ backendOptions: { incremental: 'yes' } });
  archive = await bytesOf(
    origin.runtime.snapshots.exportSet(['vm/s1', 'vm/s2'], {
      attachment: Buffer.from('attached'),
      parts: [{ sha256: part, sizeBytes: partBytes.length, bytes: () => partBytes }],
    }),
  );
  elsewhere = await openElsewhere({ backendOptions: { incremental: 'yes' } });
  before = everythingOf(elsewhere);
});
afterAll(() => elsewhere[Symbol.asyncDispose]());

/** What the importer was shown, as far as it got. */
let shown: string[] = [];

async function expectRefused(bytes: Uint8Array, expected: object, chunkBytes?: number): Promise<void> {
  shown = [];
  const importing = elsewhere.runtime.snapshots.importSet(chunksOf(bytes, chunkBytes), {
    accept: ({ attachment, snapshots }) => {
      shown.push(Buffer.from(attachment).toString());
      return new Map(snapshots.map(({ ref }) => [ref, { as: ref }]));
    },
    inTransaction: () => expect.unreachable('it was listed'),
  });
  await expect(importing).rejects.toMatchObject({ code: 'ArchiveInvalid', ...expected });
  expect(everythingOf(elsewhere)).toEqual(before);
  expect(readdirSync(join(elsewhere.root, 'tmp'))).toEqual([]);
  expect(elsewhere.warnings).toEqual([]);
}

function withEntries(change: (entries: Entry[]) => unknown): Buffer {
  const entries = takeApart(zstdDecompressSync(archive));
  change(entries);
  return putTogether(entries);
}

const withIndex = (change: (index: Index) => unknown) =>
  withEntries(([first]) => first && rewriteJson<Index>(first, change));

/** Changes the newer snapshot, or the older one. */
const withSnapshot = (position: 0 | 1, change: (snapshot: Index['snapshots'][number]) => unknown) =>
  withIndex(({ snapshots }) => change(snapshots[position] ?? expect.unreachable()));

/** Changes a member in the list: the attachment is 0, the part 1, files come then. */
const withMember = (position: number, change: (member: Index['members'][number]) => unknown) =>
  withIndex(({ members }) => change(members[position] ?? expect.unreachable()));

const withImage = (change: (image: Index['images'][number]) => unknown) =>
  withIndex(({ images: [image] }) => change(image ?? expect.unreachable()));

const zeros = '0'.repeat(64);

const indexes: readonly [name: string, make: () => Buffer, says: string][] = [
  ['no attachment', () => withIndex(({ members }) => members.shift()), 'in place of attachment'],
  [
    'an attachment that fills the memory',
    () => withMember(0, (member) => (member.sizeBytes = 2 ** 40)),
    'too large',
  ],
  [
    'a part that fills the memory',
    () => withMember(1, (member) => (member.sizeBytes = 2 ** 40)),
    'a part that is too large',
  ],
  ['a part that does not come', () => withIndex(({ parts }) => parts.push(zeros)), 'files instead of'],
  ['a part that is not named', () => withIndex(({ parts }) => parts.pop()), 'files instead of'],
  ['a part that is a path', () => withIndex(({ parts }) => (parts[0] = '../../x')), 'parts'],
  [
    'a file too many',
    () => withIndex(({ members }) => members.push({ name: `files/${zeros}`, sizeBytes: 0, sha256: zeros })),
    'files instead of',
  ],
  ['a file too few', () => withIndex(({ members }) => members.pop()), 'files instead of'],
  [
    'a file twice',
    () => withIndex(({ members }) => members.push(members[2] ?? expect.unreachable())),
    'files instead of',
  ],
  [
    'files in another order',
    () => withIndex(({ members }) => members.splice(2, 2, ...members.slice(2, 4).reverse())),
    'in place of',
  ],
  [
    'a file under a path',
    () => withMember(2, (member) => (member.name = '../../x')),
    '"../../x" in place of',
  ],
  [
    'a file under another digest',
    () => withMember(2, (member) => (member.sha256 = zeros)),
    'contradicts itself over files/',
  ],
  [
    'a file of another size',
    () => withMember(2, (member) => member.sizeBytes++),
    'contradicts itself over files/',
  ],
  [
    'two sizes of the same bytes',
    () =>
      withIndex(({ snapshots: [one, two] }) => {
        const [file] = Object.values(one?.manifest.files ?? {});
        if (two && file) two.manifest.files['again.json'] = { ...file, sizeBytes: file.sizeBytes + 1 };
      }),
    'contradicts itself over files/',
  ],
  [
    'a file name that leads up',
    () => withSnapshot(0, ({ manifest }) => (manifest.files['../x'] = { sizeBytes: 0, sha256: zeros })),
    'manifest.files',
  ],
  [
    'the name of the runtime’s own file',
    () =>
      withSnapshot(0, ({ manifest }) => (manifest.files['manifest.json'] = { sizeBytes: 0, sha256: zeros })),
    'manifest.files',
  ],
  [
    'one name for two snapshots',
    () => withSnapshot(0, (snapshot) => (snapshot.id = 's1')),
    'one name to two',
  ],
  ['an id that is a path', () => withSnapshot(0, (snapshot) => (snapshot.id = '../x')), 'snapshots.0.id'],
  ['an ancestor that is not there', () => withSnapshot(0, (snapshot) => delete snapshot.parent), 'builds on'],
  [
    'a snapshot that descends from itself',
    () => withSnapshot(0, (snapshot) => (snapshot.parent = 0)),
    'does not follow it',
  ],
  [
    'a snapshot that descends from its child',
    () => withSnapshot(1, (snapshot) => (snapshot.parent = 0)),
    'does not follow it',
  ],
  [
    'a parent beyond the list',
    () => withSnapshot(0, (snapshot) => (snapshot.parent = 2)),
    'does not follow it',
  ],
  [
    'an ancestor that nothing needs',
    () => withSnapshot(0, (snapshot) => (snapshot.role = 'ancestor')),
    'nothing needs',
  ],
  ['a role that there is none of', () => withSnapshot(0, (snapshot) => (snapshot.role = 'king')), 'role'],
  [
    'a child of another kernel than its parent',
    () => withSnapshot(0, ({ blueprint }) => (blueprint.shape.kernel.kernelDigest = `sha256:${zeros}`)),
    'two of one kernel',
  ],
  [
    'a child of another image than its parent',
    () =>
      withSnapshot(0, ({ manifest, blueprint }) => {
        manifest.imageDigest = blueprint.image.digest = `sha256:${zeros}`;
      }),
    'two of one image',
  ],
  [
    'an image that nothing is of',
    () => withIndex(({ images }) => images.push(images[0] ?? expect.unreachable())),
    'other images',
  ],
  ['no image', () => withIndex(({ images }) => images.pop()), 'other images'],
  ['another image', () => withImage((image) => (image.digest = `sha256:${zeros}`)), 'other images'],
  ['a squashfs that does not come', () => withImage((image) => (image.sha256 = zeros)), 'in place of'],
  ['a field that nobody knows', () => withIndex((index) => Object.assign(index, { extra: 1 })), 'extra'],
  [
    'a label that is none',
    () => withSnapshot(0, (snapshot) => Object.assign(snapshot, { labels: { 'a=b': '' } })),
    'labels',
  ],
];

test.each(indexes)('a set whose index has %s is refused before anything is shown', async (_, make, says) => {
  await expectRefused(make(), {
    message: expect.stringContaining(says),
    details: { problem: 'refused', member: 'alcove-snapshot.json' },
  });
  expect(shown).toEqual([]);
});

test('labels of Alcove’s own are not taken from an archive', async () => {
  const named = withIndex(({ snapshots }) => {
    for (const snapshot of snapshots) Object.assign(snapshot, { labels: { 'alcove.cache': 'mine', a: 'b' } });
  });
  await using other = await openElsewhere({ backendOptions: { incremental: 'yes' } });
  await other.runtime.snapshots.importSet(chunksOf(named), {
    accept: ({ snapshots }) => new Map(snapshots.map(({ ref }) => [ref, { as: ref }])),
  });
  expect(other.runtime.snapshots.labelled('alcove.cache')).toEqual([]);
  expect(other.runtime.snapshots.labelled('a')).toHaveLength(2);
});

const moves: readonly [name: string, change: (entries: Entry[]) => unknown][] = [
  ['left out', (entries) => entries.splice(3, 1)],
  ['doubled', (entries) => entries.splice(3, 0, entries[3] as Entry)],
  ['swapped with the next', (entries) => entries.splice(3, 2, ...entries.slice(3, 5).reverse())],
  ['of another name', ([, , , file]) => file && rewrite(file.header, { name: '../../x' })],
  ['a symbolic link', ([, , , file]) => file && rewrite(file.header, { type: '2', link: '/etc/passwd' })],
  ['a hard link', ([, , , file]) => file && rewrite(file.header, { type: '1', link: '/etc/passwd' })],
  ['a device', ([, , , file]) => file && rewrite(file.header, { type: '3' })],
  ['larger than listed', ([, , , file]) => file && rewrite(file.header, { sizeBytes: 8 ** 10 })],
];

test.each(moves)('a file that is %s is refused', async (_, change) => {
  await expectRefused(withEntries(change), {
    details: { problem: 'refused', member: expect.stringContaining('files/') },
  });
});

test('bytes of each member that are not those of the list are found, those of the attachment before it is shown', async () => {
  const names = takeApart(zstdDecompressSync(archive)).map(nameOf);
  expect(names.length).toBeGreaterThan(8);
  for (const [position, name] of names.entries()) {
    if (position === 0 || name === 'checksum') continue;
    const changed = withEntries((entries) => {
      const { content } = entries[position] as Entry;
      const middle = content.length >> 1;
      content[middle] = (content[middle] ?? 0) ^ 1;
    });
    await expectRefused(changed, {
      message: `the archive is damaged: ${name} does not have its digest`,
      details: { problem: 'damaged', member: name },
    });
    expect(shown).toEqual(name === 'attachment' ? [] : ['attached']);
  }
});

test('a bit that flips anywhere is found', async () => {
  for (const flipped of withFlippedBits(archive, 100)) await expectRefused(flipped, {});
});

test('one that is cut anywhere is told from a damaged one', async () => {
  for (let cut = 0; cut < 40; cut++) {
    const part = archive.subarray(0, Math.floor((archive.length * cut) / 40));
    await expectRefused(part, { details: expect.objectContaining({ problem: 'cut short' }) }, 500);
  }
  const tar = zstdDecompressSync(archive);
  let at = 0;
  for (const entry of takeApart(tar)) {
    for (const offset of [0, 511, 513]) {
      const cut = zstdCompressSync(tar.subarray(0, at + offset));
      await expectRefused(cut, { details: { problem: 'cut short', member: nameOf(entry) } });
    }
    at += 512 + entry.content.length + (-entry.content.length & 511);
  }
});
