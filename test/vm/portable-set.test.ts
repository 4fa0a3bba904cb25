import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { Naming, SnapshotRef } from '../../src/vm/index.ts';
import { nameOf, takeApart } from './archive-surgery.ts';
import {
  bytesOf,
  chunksOf,
  everythingOf,
  exported,
  openElsewhere,
  openOrigin,
  sha256Of,
} from './portable-fixture.ts';
import type { RuntimeFixture } from './runtime-fixture.ts';

const attachment = Buffer.from('{"for":"the importer"}');

/** A part, with what it is told by. */
function part(text: string) {
  const bytes = Buffer.from(text);
  return { sha256: sha256Of(bytes).slice(7), sizeBytes: bytes.length, bytes: () => bytes };
}

function exportSet({ runtime }: RuntimeFixture, refs: SnapshotRef[], parts = [part('one')]): Promise<Buffer> {
  return bytesOf(runtime.snapshots.exportSet(refs, { attachment, parts }));
}

/** Takes in all that is offered, under other names. */
async function importAll(
  { runtime }: RuntimeFixture,
  archive: Buffer,
  not: SnapshotRef[] = [],
): Promise<void> {
  await runtime.snapshots.importSet(chunksOf(archive), {
    accept: ({ snapshots }) =>
      new Map(snapshots.filter(({ ref }) => !not.includes(ref)).map(({ ref }) => [ref, here(ref)])),
  });
}

const here = (ref: SnapshotRef): Naming => ({ as: `here/${ref.split('/')[1]}` });

async function noteOf({ runtime }: RuntimeFixture, ref: SnapshotRef): Promise<string> {
  const { id } = await runtime.restore(ref);
  await runtime.start(id);
  const { stdout } = await runtime.exec(id, { command: 'cat /root/note' });
  await runtime.destroy(id);
  return stdout;
}

describe('a set of snapshots', () => {
  test('is one file in which each file is once, the attachment first', async () => {
    await using origin = await openOrigin();
    await origin.runtime.snapshot('vm', { id: 's3' }); // Nothing has changed since s2.
    const archive = await exportSet(
      origin,
      ['vm/s1', 'vm/s2', 'vm/s3'],
      [part('one'), part('two'), part('one')],
    );
    const names = takeApart(zstdDecompressSync(archive)).map(nameOf);
    expect(names.slice(0, 4)).toEqual([
      'alcove-snapshot.json',
      'attachment',
      `files/${part('one').sha256}`,
      `files/${part('two').sha256}`,
    ]);
    expect(names.at(-1)).toBe('checksum');
    const files = new Set(filesOf(origin));
    expect(files.size).toBeLessThan(filesOf(origin).length);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toHaveLength(5 + files.size + 3); // Image, kernel, initramfs.
    expect(await exportSet(origin, ['vm/s3', 'vm/s1', 'vm/s2'], [part('one'), part('two')])).toEqual(archive);
  });

  test('is restored where neither image nor kernel is, and has the same bytes again', async () => {
    await using origin = await openOrigin();
    const archive = await exportSet(origin, ['vm/s1', 'vm/s2']);
    await using elsewhere = await openElsewhere();
    const seen: unknown[] = [];
    await elsewhere.runtime.snapshots.importSet(chunksOf(archive), {
      accept: (offer) => {
        expect(Buffer.from(offer.attachment)).toEqual(attachment);
        expect(offer.snapshots.map(({ ref }) => ref)).toEqual(['vm/s2', 'vm/s1']);
        expect(offer.snapshots[0]).toMatchObject({ backend: 'memory', kind: 'disk+memory' });
        return new Map(offer.snapshots.map(({ ref }) => [ref, { as: ref, labels: { of: ref } }]));
      },
      inTransaction: ({ snapshots, part: read }) => {
        seen.push(
          [...snapshots].map(([from, { ref }]) => [from, ref]),
          String(read(part('one').sha256)),
        );
        expect(() => read(part('two').sha256)).toThrow('names a part that is not there');
      },
    });
    expect(seen).toEqual([
      [
        ['vm/s2', 'vm/s2'],
        ['vm/s1', 'vm/s1'],
      ],
      'one',
    ]);
    expect(await elsewhere.runtime.snapshots.list()).toMatchObject([
      { ref: 'vm/s1', labels: { of: 'vm/s1' }, lifetime: 'until removed' },
      { ref: 'vm/s2', parent: 'vm/s1', labels: { of: 'vm/s2' } },
    ]);
    for (const id of ['s1', 's2'] as const) expect(await noteOf(elsewhere, `vm/${id}`)).toBe(id);
    expect((await elsewhere.reopen()).mended).toEqual([]);
    const again = await exportSet(elsewhere, ['vm/s1', 'vm/s2']);
    await using third = await openElsewhere();
    await third.runtime.snapshots.importSet(chunksOf(again, 7), {
      accept: ({ snapshots }) => new Map(snapshots.map(({ ref }) => [ref, { as: ref, labels: { of: ref } }])),
    });
    expect(await exportSet(third, ['vm/s1', 'vm/s2'])).toEqual(again);
    for (const fixture of [elsewhere, third]) {
      expect(readdirSync(join(fixture.root, 'tmp'))).toEqual([]);
      expect(fixture.warnings).toEqual([]);
    }
  });

  test('shares by hard link what its snapshots have in common', async () => {
    await using origin = await openOrigin();
    await origin.runtime.snapshot('vm', { id: 's3' });
    await using elsewhere = await openElsewhere();
    await importAll(elsewhere, await exportSet(origin, ['vm/s2', 'vm/s3']));
    const inodes = new Set(pathsOf(elsewhere).map((path) => statSync(path).ino));
    expect(inodes.size).toBe(new Set(filesOf(origin)).size - 2); // Of s1 there is nothing.
    expect(await noteOf(elsewhere, 'here/s3')).toBe('s2');
    await elsewhere.runtime.snapshots.remove('here/s2');
    await elsewhere.runtime.snapshots.verify('here/s3');
    expect(await noteOf(elsewhere, 'here/s3')).toBe('s2');
  });

  test('comes in part where only a part is wanted, with what that builds on', async () => {
    const options = { backendOptions: { incremental: 'yes' } } as const;
    await using origin = await openOrigin(options);
    const archive = await exportSet(origin, ['vm/s1', 'vm/s2']);
    await using elsewhere = await openElsewhere(options);
    await importAll(elsewhere, archive, ['vm/s1']);
    expect(await elsewhere.runtime.snapshots.list()).toMatchObject([
      { ref: expect.stringMatching(/^here\/base-[0-9a-f]{15}$/), lifetime: 'while needed', labels: {} },
      { ref: 'here/s2', lifetime: 'until removed' },
    ]);
    expect(await noteOf(elsewhere, 'here/s2')).toBe('s2');
    await elsewhere.runtime.snapshots.remove('here/s2');
    expect(readdirSync(join(elsewhere.root, 'snapshots'))).toEqual([]);
    await importAll(elsewhere, archive, ['vm/s2']);
    expect(await elsewhere.runtime.snapshots.list()).toMatchObject([{ ref: 'here/s1' }]);
    expect(await noteOf(elsewhere, 'here/s1')).toBe('s1');
  });

  test('brings ancestors that were not asked for, which are not offered', async () => {
    const options = { backendOptions: { incremental: 'yes' } } as const;
    await using origin = await openOrigin(options);
    await using elsewhere = await openElsewhere(options);
    const archive = await exportSet(origin, ['vm/s2']);
    await elsewhere.runtime.snapshots.importSet(chunksOf(archive), {
      accept: ({ snapshots }) => {
        expect(snapshots.map(({ ref }) => ref)).toEqual(['vm/s2']);
        return new Map<SnapshotRef, Naming>([
          ['vm/s2', { as: 'here/s2' }],
          ['vm/s1', { as: 'here/s1' }],
        ]);
      },
    });
    expect((await elsewhere.runtime.snapshots.list()).map(({ lifetime }) => lifetime)).toEqual([
      'while needed',
      'until removed',
    ]);
    expect(await noteOf(elsewhere, 'here/s2')).toBe('s2');
  });

  test('of which nothing is wanted is still compared, and leaves nothing', async () => {
    await using origin = await openOrigin();
    await using elsewhere = await openElsewhere();
    const empty = everythingOf(elsewhere);
    const archive = await exportSet(origin, ['vm/s1', 'vm/s2']);
    await importAll(elsewhere, archive, ['vm/s1', 'vm/s2']);
    expect(everythingOf(elsewhere)).toEqual(empty);
    await expect(importAll(elsewhere, archive.subarray(0, -9), ['vm/s1', 'vm/s2'])).rejects.toHaveProperty(
      'code',
      'ArchiveInvalid',
    );
  });

  test('may have no snapshot at all', async () => {
    await using elsewhere = await openElsewhere();
    let was: string | undefined;
    await elsewhere.runtime.snapshots.importSet(chunksOf(await exportSet(elsewhere, [])), {
      accept: () => new Map(),
      inTransaction: ({ part: read }) => {
        was = String(read(part('one').sha256));
      },
    });
    expect(was).toBe('one');
  });

  test('takes its labels along, but for those that are Alcove’s own', async () => {
    await using origin = await openOrigin();
    await origin.runtime.snapshot('vm', { id: 's3', labels: { mine: 'yes', 'alcove.cache': 'key' } });
    await using elsewhere = await openElsewhere();
    const archive = await exportSet(origin, ['vm/s3']);
    expect(String(zstdDecompressSync(archive))).not.toContain('alcove.cache');
    await importAll(elsewhere, archive);
    expect(await elsewhere.runtime.snapshots.get('here/s3')).toMatchObject({ labels: { mine: 'yes' } });
  });

  test('cannot take a name that is taken, nor give one name twice', async () => {
    await using origin = await openOrigin();
    const archive = await exportSet(origin, ['vm/s1', 'vm/s2']);
    const before = everythingOf(origin);
    for (const as of ['vm/s1', 'x/y'] as const) {
      const importing = origin.runtime.snapshots.importSet(chunksOf(archive), {
        accept: ({ snapshots }) => new Map(snapshots.map(({ ref }) => [ref, { as }])),
      });
      await expect(importing).rejects.toHaveProperty('code', 'SnapshotAlreadyExists');
      expect(everythingOf(origin)).toEqual(before);
    }
  });

  test('that the importer does not accept is not read further', async () => {
    await using origin = await openOrigin();
    await using elsewhere = await openElsewhere();
    const archive = await exportSet(origin, ['vm/s1']);
    const importing = elsewhere.runtime.snapshots.importSet(
      (async function* () {
        yield archive;
        await new Promise(() => undefined); // More, for ever.
      })(),
      { accept: () => Promise.reject(new Error('not mine')) },
    );
    await expect(importing).rejects.toThrow('not mine');
    expect(readdirSync(join(elsewhere.root, 'tmp'))).toEqual([]);
  });

  test('leaves nothing when what is to be listed with it cannot be', async () => {
    await using origin = await openOrigin();
    await using elsewhere = await openElsewhere();
    const empty = everythingOf(elsewhere);
    const archive = await exportSet(origin, ['vm/s1', 'vm/s2']);
    const importing = elsewhere.runtime.snapshots.importSet(chunksOf(archive), {
      accept: ({ snapshots }) => new Map(snapshots.map(({ ref }) => [ref, here(ref)])),
      inTransaction: () => {
        elsewhere.database
          .prepare("INSERT INTO vm_journal (op, vm_id, began_at_ms) VALUES ('x', 'x', 1)")
          .run();
        throw new Error('no room for the row');
      },
    });
    await expect(importing).rejects.toThrow('no room for the row');
    expect(everythingOf(elsewhere)).toEqual(empty);
    expect(elsewhere.warnings).toEqual([]);
    await importAll(elsewhere, archive);
  });

  test('is not taken for one snapshot, nor one snapshot for a set', async () => {
    await using origin = await openOrigin();
    await using elsewhere = await openElsewhere();
    const set = await exportSet(origin, ['vm/s1']);
    await expect(elsewhere.runtime.snapshots.import(chunksOf(set))).rejects.toMatchObject({
      code: 'ArchiveInvalid',
      remedy: expect.stringContaining('alcove cache import'),
    });
    const one = await exported(origin.runtime, 'vm/s1');
    await expect(importAll(elsewhere, one)).rejects.toMatchObject({
      code: 'ArchiveInvalid',
      remedy: expect.stringContaining('alcove snapshot import'),
    });
  });

  test('is kept while it is read, and refused when it is damaged', async () => {
    await using origin = await openOrigin();
    const { snapshots } = origin.runtime;
    const reading = snapshots.exportSet(['vm/s1', 'vm/s2'], { attachment })[Symbol.asyncIterator]();
    await reading.next();
    for (const ref of ['vm/s1', 'vm/s2'] as const)
      await expect(snapshots.remove(ref)).rejects.toHaveProperty('code', 'SnapshotInUse');
    await reading.return?.();
    await expect(exportSet(origin, ['vm/s1', 'vm/s9'])).rejects.toHaveProperty('code', 'SnapshotNotFound');
    const large = snapshots.exportSet([], { attachment: Buffer.alloc((16 << 20) + 1) });
    await expect(bytesOf(large)).rejects.toMatchObject({
      code: 'InvalidInput',
      details: { field: 'bytes of an attachment' },
    });
  });
});

function pathsOf({ root }: RuntimeFixture): string[] {
  return readdirSync(join(root, 'snapshots'), { recursive: true, encoding: 'utf8' })
    .map((name) => join(root, 'snapshots', name))
    .filter((path) => statSync(path).isFile() && !path.endsWith('manifest.json'));
}

/** Digests of the files of all snapshots. */
function filesOf({ database }: RuntimeFixture): string[] {
  return database
    .prepare('SELECT manifest FROM snapshots')
    .all()
    .flatMap(({ manifest }) =>
      Object.values(JSON.parse(String(manifest)).files as Record<string, { sha256: string }>),
    )
    .map(({ sha256 }) => sha256);
}
