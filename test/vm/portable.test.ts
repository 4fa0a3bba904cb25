import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import {
  addImage,
  bzImage,
  chunksOf,
  exported,
  initramfs,
  openElsewhere,
  openOrigin,
  sha256Of,
  squashfs,
} from './portable-fixture.ts';
import type { RuntimeFixture } from './runtime-fixture.ts';

async function noteOf({ runtime }: RuntimeFixture, ref: `${string}/${string}`): Promise<string> {
  const { id } = await runtime.restore(ref);
  await runtime.start(id);
  const { stdout } = await runtime.exec(id, { command: 'cat /root/note' });
  await runtime.destroy(id);
  return stdout;
}

describe('an exported snapshot', () => {
  test('can be restored where neither its image nor its kernel is', async () => {
    await using origin = await openOrigin();
    const archive = await exported(origin.runtime, 'vm/s1');
    await using elsewhere = await openElsewhere();
    const { runtime, root, realImages, realKernels } = elsewhere;
    const info = await runtime.snapshots.import(chunksOf(archive));
    expect(info).toMatchObject({
      ref: 'vm/s1',
      vm: 'gone',
      kind: 'disk+memory',
      lifetime: 'until removed',
      createdAtMs: (await origin.runtime.snapshots.get('vm/s1'))?.createdAtMs,
    });
    expect(info).not.toHaveProperty('parent');
    expect(await runtime.snapshots.list()).toEqual([info]);
    expect(readdirSync(join(root, 'tmp'))).toEqual([]);
    const [image] = await realImages.list();
    expect(image).toMatchObject({
      digest: sha256Of(squashfs),
      config: { entrypoint: ['/init'] },
      references: [],
    });
    expect(readFileSync(image?.rootfsPath ?? '')).toEqual(squashfs);
    const kept = await realKernels.list();
    expect(kept.map(({ kind, path }) => [kind, readFileSync(path)])).toEqual([
      ['kernel', bzImage],
      ['initramfs', initramfs],
    ]);
    expect(await noteOf(elsewhere, 'vm/s1')).toBe('s1');
    expect(await runtime.restore('vm/s1', { id: 'copy' })).toMatchObject({ env: { A: '1' }, from: 'vm/s1' });
    expect(elsewhere.warnings).toEqual([]);
    expect((await elsewhere.reopen()).mended).toEqual([]);
    expect(await noteOf(elsewhere, 'vm/s1')).toBe('s1');
  });

  test('has the same bytes each time, also from where it was imported to and from another engine', async () => {
    await using origin = await openOrigin();
    const archive = await exported(origin.runtime, 'vm/s2');
    expect(await exported(origin.runtime, 'vm/s2')).toEqual(archive);
    await origin.reopen();
    expect(await exported(origin.runtime, 'vm/s2')).toEqual(archive);
    await using second = await openElsewhere();
    await second.runtime.snapshots.import(chunksOf(archive));
    const again = await exported(second.runtime, 'vm/s2');
    await using third = await openElsewhere();
    await third.runtime.snapshots.import(chunksOf(again, 7));
    expect(await exported(third.runtime, 'vm/s2')).toEqual(again);
  });

  test('is a tar that others can read', async () => {
    await using origin = await openOrigin();
    const tar = zstdDecompressSync(await exported(origin.runtime, 'vm/s1'));
    const listed = execFileSync('tar', ['-tf', '-'], { input: tar, encoding: 'utf8' });
    expect(listed.trim().split('\n')).toEqual([
      'alcove-snapshot.json',
      'snapshots/0/disk.json',
      'snapshots/0/memory.json',
      'image/rootfs.squashfs',
      'kernel/kernel',
      'kernel/initramfs',
      'checksum',
    ]);
    const index = execFileSync('tar', ['-xOf', '-', 'alcove-snapshot.json'], {
      input: tar,
      encoding: 'utf8',
    });
    expect(index, 'nothing of this host').not.toContain(origin.root);
  });

  test('brings the ancestors it builds on, which go with it', async () => {
    await using origin = await openOrigin({ backendOptions: { incremental: 'yes' } });
    await using elsewhere = await openElsewhere({ backendOptions: { incremental: 'yes' } });
    const { runtime, root } = elsewhere;
    await runtime.snapshots.import(chunksOf(await exported(origin.runtime, 'vm/s2')));
    expect(await runtime.snapshots.list()).toMatchObject([
      { ref: expect.stringMatching(/^vm\/base-[0-9a-f]{15}$/), lifetime: 'while needed' },
      { ref: 'vm/s2', lifetime: 'until removed' },
    ]);
    expect(await noteOf(elsewhere, 'vm/s2')).toBe('s2');
    expect((await elsewhere.reopen()).mended).toEqual([]);
    await elsewhere.runtime.snapshots.remove('vm/s2');
    expect(await elsewhere.runtime.snapshots.list()).toEqual([]);
    expect(readdirSync(join(root, 'snapshots'))).toEqual([]);
  });

  test('is not read again when it is restored', async () => {
    await using origin = await openOrigin();
    await using elsewhere = await openElsewhere();
    await elsewhere.runtime.snapshots.import(chunksOf(await exported(origin.runtime, 'vm/s1')));
    const steps: string[] = [];
    await elsewhere.runtime.restore('vm/s1', {}, { onProgress: (step) => void steps.push(step) });
    expect(steps.filter((step) => step.startsWith('checking'))).toEqual([]);
  });

  test('is refused when its own bytes are damaged, and so is one whose kernel has changed', async () => {
    await using origin = await openOrigin();
    const path = join(origin.root, 'given', 'vmlinuz');
    writeFileSync(path, Buffer.concat([bzImage, bzImage]));
    await expect(exported(origin.runtime, 'vm/s1')).rejects.toMatchObject({
      code: 'KernelNotFound',
      message: expect.stringContaining(path),
    });
    writeFileSync(path, bzImage);
    for (const uid of readdirSync(join(origin.root, 'snapshots')))
      writeFileSync(join(origin.root, 'snapshots', uid, 'disk.json'), '{}');
    await expect(exported(origin.runtime, 'vm/s1')).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
    await expect(exported(origin.runtime, 'vm/s9')).rejects.toMatchObject({ code: 'SnapshotNotFound' });
  });

  test('cannot be removed while it is read, and can when the reader has let go of it', async () => {
    await using origin = await openOrigin();
    const { snapshots } = origin.runtime;
    const reading = snapshots.export('vm/s1')[Symbol.asyncIterator]();
    await reading.next();
    await expect(snapshots.remove('vm/s1')).rejects.toMatchObject({
      code: 'SnapshotInUse',
      details: { neededBy: ['a call that is under way'] },
    });
    await reading.return?.();
    await snapshots.remove('vm/s1');
  });

  test('ends with an error when it is cancelled, or its engine closed', async () => {
    await using origin = await openOrigin();
    const abort = new AbortController();
    const cancelled = origin.runtime.snapshots.export('vm/s1', {
      signal: abort.signal,
      onProgress: (step) => step.startsWith('exporting') && abort.abort(),
    });
    await expect(drain(cancelled)).rejects.toMatchObject({ code: 'Cancelled' });
    let closed: Promise<void> | undefined;
    const open = origin.runtime;
    const left = open.snapshots.export('vm/s1', {
      onProgress: (step) => {
        if (step.startsWith('exporting')) closed ??= open.close();
      },
    });
    await expect(drain(left)).rejects.toMatchObject({ code: 'Cancelled' });
    await closed;
    await origin.reopen();
  });
});

async function drain(chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of chunks);
}

describe('an import', () => {
  test('gets another name when asked to, and must where its own is taken', async () => {
    await using origin = await openOrigin();
    const { runtime, realKernels } = origin;
    const archive = await exported(runtime, 'vm/s1');
    await expect(runtime.snapshots.import(chunksOf(archive))).rejects.toMatchObject({
      code: 'SnapshotAlreadyExists',
      details: { ref: 'vm/s1' },
      remedy: expect.stringContaining('--as'),
    });
    await expect(runtime.snapshots.import(chunksOf(archive), { as: 'vm/s2' })).rejects.toMatchObject({
      code: 'SnapshotAlreadyExists',
    });
    for (const as of ['nonsense', '../x', 'vm/A', '/s'])
      await expect(runtime.snapshots.import(chunksOf(archive), { as: as as 'a/b' })).rejects.toMatchObject({
        code: 'InvalidInput',
      });
    expect(await runtime.snapshots.import(chunksOf(archive), { as: 'vm/again' })).toMatchObject({
      ref: 'vm/again',
      vm: 'gone',
    });
    expect((await runtime.get('vm'))?.snapshots, 'it is not this VM’s').toEqual(['s1', 's2']);
    expect(await noteOf(origin, 'vm/again')).toBe('s1');
    const kept = await realKernels.list();
    expect(kept, 'those of the origin lie elsewhere').toHaveLength(2);
    await runtime.snapshots.import(chunksOf(archive), { as: 'vm/third' });
    expect(await realKernels.list()).toEqual(kept);
  });

  test('twice at once gives two snapshots, and one of them the name that both want', async () => {
    await using origin = await openOrigin();
    const archive = await exported(origin.runtime, 'vm/s1');
    await using elsewhere = await openElsewhere();
    const { runtime } = elsewhere;
    const [one, two, three] = await Promise.allSettled([
      runtime.snapshots.import(chunksOf(archive, 1000)),
      runtime.snapshots.import(chunksOf(archive, 1001)),
      runtime.snapshots.import(chunksOf(archive, 1002), { as: 'a/b' }),
    ]);
    expect([one.status, two.status].sort()).toEqual(['fulfilled', 'rejected']);
    expect(three.status).toBe('fulfilled');
    expect((await runtime.snapshots.list()).map(({ ref }) => ref).sort()).toEqual(['a/b', 'vm/s1']);
    expect(readdirSync(join(elsewhere.root, 'snapshots'))).toHaveLength(2);
    for (const ref of ['a/b', 'vm/s1'] as const) expect(await noteOf(elsewhere, ref)).toBe('s1');
    expect((await elsewhere.reopen()).mended).toEqual([]);
  });

  test('of a disk works with the image of that name that is here; of memory only with the same bytes', async () => {
    const name = sha256Of('what the image is called');
    await using origin = await openOrigin();
    await origin.runtime.stop('vm');
    await origin.runtime.snapshot('vm', { id: 'disk' });
    await using elsewhere = await openElsewhere();
    const { runtime, realImages } = elsewhere;
    await addImage(elsewhere, name, Buffer.from('hsqs, made by another mksquashfs'));
    const imported = await runtime.snapshots.import(chunksOf(await exported(origin.runtime, 'vm/disk')));
    expect(imported).toMatchObject({ kind: 'disk', imageDigest: name });
    expect(await realImages.list()).toHaveLength(1);
    const memory = await runtime.snapshots.import(chunksOf(await exported(origin.runtime, 'vm/s1')));
    expect(memory).toMatchObject({ kind: 'disk+memory', imageDigest: sha256Of(squashfs) });
    expect(await realImages.list()).toHaveLength(2);
    for (const [ref, note] of [
      ['vm/disk', 's2'],
      ['vm/s1', 's1'],
    ] as const)
      expect(await noteOf(elsewhere, ref)).toBe(note);
  });

  test('takes the image of the same name where its bytes are the same, too', async () => {
    const name = sha256Of('what the image is called');
    await using origin = await openOrigin();
    await using elsewhere = await openElsewhere();
    await addImage(elsewhere, name);
    const archive = await exported(origin.runtime, 'vm/s1');
    expect(await elsewhere.runtime.snapshots.import(chunksOf(archive))).toMatchObject({ imageDigest: name });
    expect(await elsewhere.realImages.list()).toHaveLength(1);
  });

  test('of an image’s name that is not here does not make its bytes be that image', async () => {
    await using origin = await openOrigin();
    await using elsewhere = await openElsewhere();
    await elsewhere.runtime.snapshots.import(chunksOf(await exported(origin.runtime, 'vm/s1')));
    expect(await elsewhere.realImages.find(sha256Of('what the image is called'))).toBeUndefined();
    expect(existsSync(join(elsewhere.root, 'images', `${sha256Of(squashfs).slice(7)}.squashfs`))).toBe(true);
  });

  test('keeps its image from being removed', async () => {
    await using origin = await openOrigin();
    await using elsewhere = await openElsewhere();
    const { runtime } = elsewhere;
    await runtime.snapshots.import(chunksOf(await exported(origin.runtime, 'vm/s1')));
    expect(runtime.imageDigestsInUse()).toEqual(new Set([sha256Of(squashfs)]));
  });
});
