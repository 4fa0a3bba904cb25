import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type BackupFixture,
  backupFixture,
  makeTree,
  openBelow,
  readAll,
  roomy,
  run,
  smallTar,
} from './backup-fixture.ts';
import { raw, tarOf } from './raw-tar.ts';

let fixture: BackupFixture;
beforeEach(() => {
  fixture = backupFixture();
});
afterEach(() => fixture.end());

/** Puts a file beside the destination. */
function put(bytes: Buffer, name = 'by-hand.tar.zst'): string {
  const path = join(fixture.dir, name);
  writeFileSync(path, bytes);
  return path;
}

describe('an archive made by hand', () => {
  test.each([
    '--format=gnu',
    '--format=oldgnu',
    '--format=pax',
    '--format=ustar',
    '--format=v7',
    '--format=gnu --sparse',
    '--format=oldgnu --sparse',
    '--format=pax --sparse --sparse-version=0.0',
    '--format=pax --sparse --sparse-version=0.1',
    '--format=pax --sparse --sparse-version=1.0',
    '--format=pax --xattrs --blocking-factor=2048',
  ])('with `tar --zstd %s` is counted and given back', async (line) => {
    const options = line.split(' ');
    const tree = join(fixture.dir, 'tree');
    mkdirSync(tree);
    makeTree(tree);
    // What these formats cannot say.
    const old = options.some((option) => /v7|ustar/.test(option));
    const left = old
      ? ['--exclude=nnn*', '--exclude=far', ...(options[0] === '--format=v7' ? ['--exclude=fifo'] : [])]
      : [];
    const path = join(fixture.dir, 'by-hand.tar.zst');
    run('tar', ['--zstd', '-c', ...options, ...left, '-f', path, '-C', tree, '.']);
    const expected = run('zstd', ['-dc', path]);
    const verified = await fixture.store.verify(path, roomy);
    expect(verified.info).toBeUndefined();
    expect((await readAll(verified.tar())).equals(expected)).toBe(true);
    // Sparse files count without their holes, so this tells whether they were understood.
    const contentBytes = options.includes('--sparse') ? 1 << 20 : 4 << 20;
    await fixture.store.verify(path, { ...roomy, unpackedBytes: contentBytes });
    const listed = run('tar', ['--list', '--quoting-style=escape', '-f', path])
      .toString()
      .trim()
      .split('\n').length;
    await fixture.store.verify(path, { ...roomy, entries: listed });
    await expect(fixture.store.verify(path, { ...roomy, entries: listed - 1 })).rejects.toMatchObject({
      details: { problem: 'too large' },
    });
  });

  const tar = smallTar(randomBytes(3 << 20));
  const skippable = Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0]), Buffer.from('skip')]);
  const half = tar.length >> 1;
  const compressed: [string, () => Buffer][] = [
    ['pzstd', () => run('pzstd', ['-p', '4', '-c'], tar)],
    ['zstd of several threads', () => run('zstd', ['-T4', '-c'], tar)],
    ['zstd with the widest window that it reads unasked', () => run('zstd', ['--long=27', '-c'], tar)],
    [
      'several frames',
      () => Buffer.concat([zstdCompressSync(tar.subarray(0, half)), zstdCompressSync(tar.subarray(half))]),
    ],
    [
      'frames to skip before, between and behind',
      () => Buffer.concat([skippable, zstdCompressSync(tar), skippable]),
    ],
    [
      'an empty frame behind',
      () => Buffer.concat([zstdCompressSync(tar), zstdCompressSync(Buffer.alloc(0))]),
    ],
  ];
  test.each(compressed)('is read when it is compressed by %s', async (_what, compress) => {
    const verified = await fixture.store.verify(put(compress()), roomy);
    expect((await readAll(verified.tar())).equals(tar)).toBe(true);
  });

  test('may be reached by a symlink that the caller names', async () => {
    put(zstdCompressSync(tar));
    symlinkSync('by-hand.tar.zst', join(fixture.dir, 'link'));
    await fixture.store.verify(join(fixture.dir, 'link'), roomy);
  });

  test.each([
    ['that is not there', 'HostFile', (path: string) => path],
    ['that is a folder', 'HostFile', (path: string) => mkdirSync(path)],
    ['that is a fifo, without waiting for a writer', 'HostFile', (path: string) => run('mkfifo', [path])],
    ['that is a device', 'HostFile', (path: string) => symlinkSync('/dev/zero', path)],
    ['that is empty', 'BackupInvalid', (path: string) => writeFileSync(path, '')],
    ['that is a plain tar', 'BackupInvalid', (path: string) => writeFileSync(path, smallTar('x'))],
    ['that is text', 'BackupInvalid', (path: string) => writeFileSync(path, 'hello')],
    [
      'that is compressed, but no tar',
      'BackupInvalid',
      (path: string) => writeFileSync(path, zstdCompressSync('hello'.repeat(999))),
    ],
  ])('%s is refused', async (_what, code, make) => {
    const path = join(fixture.dir, 'odd');
    make(path);
    await expect(fixture.store.verify(path, roomy)).rejects.toMatchObject({ code });
  });
});

describe('bombs', () => {
  test('a tebibyte of zeros in a small file is refused at its header', async () => {
    const head = raw({ size: 2 ** 33 - 1 });
    const path = join(fixture.dir, 'bomb');
    writeFileSync(path, zstdCompressSync(Buffer.concat([head, Buffer.alloc(64 << 20)])));
    await expect(fixture.store.verify(path, { unpackedBytes: 1 << 20, entries: 10 })).rejects.toMatchObject({
      code: 'BackupInvalid',
      details: { problem: 'too large', entry: 'file' },
    });
  });

  test('many small files, compressed a thousandfold, are refused at the first that is too many', async () => {
    const path = put(
      zstdCompressSync(Buffer.concat([...Array(5_000).fill(raw({ data: 'x' })), Buffer.alloc(1024)])),
    );
    await expect(fixture.store.verify(path, { ...roomy, entries: 4_999 })).rejects.toMatchObject({
      details: { problem: 'too large' },
    });
  });

  test('a frame that wants a window of 2 GiB is refused', async () => {
    const tar = smallTar(Buffer.alloc(1 << 20));
    const path = join(fixture.dir, 'wide');
    writeFileSync(path, run('zstd', ['--ultra', '--long=31', '--no-content-size', '-c'], tar));
    await expect(fixture.store.verify(path, roomy)).rejects.toMatchObject({
      code: 'BackupInvalid',
      details: { problem: 'damaged' },
    });
  });
});

describe('a backup that is not what was written', () => {
  const tar = smallTar(randomBytes(1 << 20));
  const problems: [string, string, (path: string, manifest: string) => void][] = [
    ['one byte of it is another', 'damaged', (path) => flip(path, 500_000)],
    ['its first byte is another', 'damaged', (path) => flip(path, 0)],
    ['its last byte is another', 'damaged', (path) => flip(path, readFileSync(path).length - 1)],
    ['it is cut short', 'cut short', (path) => truncateSync(path, 500_000)],
    ['it is empty', 'cut short', (path) => truncateSync(path, 0)],
    [
      'something was added',
      'damaged',
      (path) => writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.from('x')])),
    ],
    [
      'it is another backup of the same size',
      'damaged',
      (path) => writeFileSync(path, compressedTo(readFileSync(path).length)),
    ],
    ['its manifest is no JSON', 'damaged', (_path, manifest) => truncateSync(manifest, 100)],
    ['its manifest is empty', 'damaged', (_path, manifest) => truncateSync(manifest, 0)],
    [
      'its manifest is of another session',
      'damaged',
      (_path, manifest) => edit(manifest, { sessionId: 'other' }),
    ],
    ['its manifest is of another format', 'damaged', (_path, manifest) => edit(manifest, { format: 2 })],
    [
      'its manifest has another digest',
      'damaged',
      (_path, manifest) => edit(manifest, { digest: `sha256:${'0'.repeat(64)}` }),
    ],
    ['its manifest has another size', 'damaged', (_path, manifest) => edit(manifest, { tarBytes: 1 })],
    [
      'its manifest has other counts',
      'damaged',
      (_path, manifest) =>
        edit(manifest, { entries: { files: 9, directories: 1, symlinks: 0, hardLinks: 0, others: 0 } }),
    ],
    ['its manifest is huge', 'damaged', (_path, manifest) => writeFileSync(manifest, ' '.repeat(70_000))],
    [
      'its manifest has no number for a size',
      'damaged',
      (_path, manifest) => edit(manifest, { fileBytes: 'many' }),
    ],
  ];
  const flip = (path: string, at: number) => {
    const bytes = readFileSync(path);
    bytes[at] = (bytes[at] ?? 0) ^ 0x40;
    writeFileSync(path, bytes);
  };
  const edit = (path: string, changes: object) =>
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...changes }));

  test.each(problems)('%s', async (_what, problem, change) => {
    const { name, path } = await fixture.write('s', tar);
    change(path, join(fixture.destination, name.replace('.tar.zst', '.json')));
    const listed = await fixture.store.list();
    expect(listed.map((info) => info.name)).toEqual([name]);
    expect(await fixture.store.find(name)).toEqual(listed[0]);
    for (const from of [name, path]) {
      await expect(fixture.store.verify(from, roomy)).rejects.toMatchObject({
        code: 'BackupInvalid',
        details: { problem },
      });
    }
  });

  test('without its manifest it is as one made by hand', async () => {
    const { name, path } = await fixture.write('s', tar);
    copyFileSync(path, join(fixture.destination, 's-20300101T000000Z.tar.zst'));
    const verified = await fixture.store.verify('s-20300101T000000Z.tar.zst', roomy);
    expect(verified.info).toEqual({
      name: 's-20300101T000000Z.tar.zst',
      path: join(fixture.destination, 's-20300101T000000Z.tar.zst'),
      sessionId: 's',
      createdAtMs: Date.UTC(2030, 0, 1),
      fileBytes: (await fixture.store.find(name))?.fileBytes,
    });
  });

  test.each([
    ['a symlink to a good archive elsewhere', (path: string) => symlinkSync('../by-hand.tar.zst', path)],
    ['a symlink to nothing', (path: string) => symlinkSync('nothing', path)],
    ['a folder', (path: string) => mkdirSync(path)],
    ['a fifo', (path: string) => run('mkfifo', [path])],
  ])('%s in its place is not taken for it', async (_what, make) => {
    put(zstdCompressSync(tar));
    mkdirSync(fixture.destination);
    const name = 's-20300102T030405Z.tar.zst';
    make(join(fixture.destination, name));
    expect(await fixture.store.list()).toEqual([]);
    expect(await fixture.store.find(name)).toBeUndefined();
    await expect(fixture.store.verify(name, roomy)).rejects.toMatchObject({ code: 'BackupNotFound' });
    await expect(fixture.store.remove(name)).rejects.toMatchObject({ code: 'BackupNotFound' });
    // Nor is it replaced.
    expect((await fixture.write('s', tar)).name).toBe('s-20300102T030405Z-2.tar.zst');
  });

  test('a symlink in place of its manifest is not followed', async () => {
    const { name } = await fixture.write('s', tar);
    const manifest = join(fixture.destination, 's-20300102T030405Z.json');
    copyFileSync(manifest, join(fixture.dir, 'elsewhere'));
    run('ln', ['-sf', '../elsewhere', manifest]);
    expect((await fixture.store.find(name))?.manifest).toBeUndefined();
  });

  test.each(['', '.', '..', 's', 's-20300102T030405Z', 's-20300102T030405Z.tar.zst'])(
    '%j is not found',
    async (name) => {
      await expect(fixture.store.verify(name, roomy)).rejects.toMatchObject({ code: 'BackupNotFound' });
      expect(await fixture.store.find(name)).toBeUndefined();
    },
  );
});

/** Another archive of this size. */
function compressedTo(sizeBytes: number): Buffer {
  return filledUp(zstdCompressSync(tarOf(raw({ data: randomBytes(1000) }))), sizeBytes);
}

/** With a frame behind it that is skipped. */
function filledUp(compressed: Buffer, sizeBytes: number): Buffer {
  const fill = Buffer.alloc(sizeBytes - compressed.length);
  fill.writeUInt32LE(0x184d2a50, 0);
  fill.writeUInt32LE(fill.length - 8, 4);
  return Buffer.concat([compressed, fill]);
}

describe('reading a verified archive again', () => {
  test.each([
    ['one of the same size', (path: string) => writeFileSync(path, compressedTo(readFileSync(path).length))],
    ['a shorter one', (path: string) => truncateSync(path, 1_000)],
    [
      'a longer one',
      (path: string) => writeFileSync(path, Buffer.concat([readFileSync(path), readFileSync(path)])),
    ],
    [
      'one whose last byte is another',
      (path: string) => {
        const bytes = readFileSync(path);
        bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
        writeFileSync(path, bytes);
      },
    ],
  ])('ends in an error before its end when %s took its place', async (_what, replace) => {
    const tar = smallTar(randomBytes(2 << 20));
    const { name, path } = await fixture.write('s', tar);
    const verified = await fixture.store.verify(name, roomy);
    replace(path);
    let given = 0;
    const reading = (async () => {
      for await (const chunk of verified.tar()) given += chunk.length;
    })();
    await expect(reading).rejects.toMatchObject({ code: 'BackupInvalid', details: { problem: 'damaged' } });
    expect(given).toBeLessThan(tar.length);
  });

  test('gives no last chunk of the same tar, compressed in another way', async () => {
    const tar = smallTar(Buffer.alloc(2 << 20));
    const compressed = zstdCompressSync(tar);
    const skippable = (fill: string) =>
      Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0]), Buffer.from(fill)]);
    const path = put(Buffer.concat([compressed, skippable('1234')]));
    const verified = await fixture.store.verify(path, roomy);
    put(Buffer.concat([compressed, skippable('4321')]));
    let given = 0;
    const reading = (async () => {
      for await (const chunk of verified.tar()) given += chunk.length;
    })();
    await expect(reading).rejects.toMatchObject({ code: 'BackupInvalid' });
    expect(given).toBeLessThan(tar.length);
  });

  test('gives no more than was verified when a bomb took its place', async () => {
    const tar = smallTar(randomBytes(2 << 20));
    const { name, path } = await fixture.write('s', tar);
    const verified = await fixture.store.verify(name, roomy);
    const bomb = zstdCompressSync(tarOf(raw({ data: Buffer.alloc(64 << 20) })));
    writeFileSync(path, filledUp(bomb, readFileSync(path).length));
    let given = 0;
    const reading = (async () => {
      for await (const chunk of verified.tar()) given += chunk.length;
    })();
    await expect(reading).rejects.toMatchObject({ code: 'BackupInvalid', details: { problem: 'damaged' } });
    expect(given).toBeLessThan(tar.length);
  });

  test('follows no symlink that took its place', async () => {
    const { name, path } = await fixture.write('s');
    const verified = await fixture.store.verify(name, roomy);
    run('mv', [path, join(fixture.dir, 'moved')]);
    symlinkSync('../moved', path);
    await expect(readAll(verified.tar())).rejects.toMatchObject({ code: 'BackupNotFound' });
  });

  test('a backup that was removed meanwhile is not found', async () => {
    const { name } = await fixture.write('s');
    const verified = await fixture.store.verify(name, roomy);
    await fixture.store.remove(name);
    await expect(readAll(verified.tar())).rejects.toMatchObject({ code: 'BackupNotFound' });
  });

  test('and the first reading, too, can be given up', async () => {
    const { name } = await fixture.write('s');
    const signal = AbortSignal.abort();
    await expect(fixture.store.verify(name, roomy, { signal })).rejects.toMatchObject({ code: 'Cancelled' });
    const verified = await fixture.store.verify(name, roomy);
    await expect(readAll(verified.tar({ signal }))).rejects.toMatchObject({ code: 'Cancelled' });
  });

  test('holds no descriptor when its reader leaves early', async () => {
    const { name } = await fixture.write('s', smallTar(randomBytes(2 << 20)));
    const verified = await fixture.store.verify(name, roomy);
    for await (const _ of verified.tar()) {
      expect(openBelow(fixture.dir)).toHaveLength(1);
      break;
    }
    expect(openBelow(fixture.dir)).toEqual([]);
  });
});
