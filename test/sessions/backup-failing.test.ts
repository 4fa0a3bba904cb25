import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type BackupFixture, backupFixture, chunksOf, facts, run, smallTar } from './backup-fixture.ts';
import { raw, tarOf } from './raw-tar.ts';

let fixture: BackupFixture;
const mounts: string[] = [];
beforeEach(() => {
  fixture = backupFixture();
});
afterEach(() => {
  for (const mount of mounts.splice(0)) run('umount', [mount]);
  fixture.end();
});

/** Mounts over the destination; these tests run as root, as the reference machine does. */
function mount(...args: string[]): void {
  mkdirSync(fixture.destination, { recursive: true });
  run('mount', [...args, fixture.destination]);
  mounts.push(fixture.destination);
}

/** A tar of `sizeBytes` that nothing makes smaller; told how far it has come. */
async function* noise(sizeBytes: number, onChunk: (givenBytes: number) => void = () => {}) {
  yield raw({ size: sizeBytes });
  for (let given = 0; given < sizeBytes; given += 1 << 16) {
    onChunk(given);
    yield randomBytes(1 << 16);
  }
  yield Buffer.alloc(1024);
}

const write = (
  tar: AsyncIterable<Uint8Array>,
  options: { usedBytes?: number; signal?: AbortSignal } = {},
) => {
  const { usedBytes = 1, signal } = options;
  return fixture.store.write({ sessionId: 's', tar, usedBytes, facts }, signal ? { signal } : {});
};

describe('a destination that is full', () => {
  test('is found so before anything is read', async () => {
    mount('-t', 'tmpfs', '-o', 'size=64k', 'tmpfs');
    let asked = false;
    const tar = noise(1 << 20, () => {
      asked = true;
    });
    await expect(write(tar, { usedBytes: 1 << 20 })).rejects.toMatchObject({
      code: 'BackupFailed',
      message: expect.stringContaining('no room'),
    });
    expect(asked).toBe(false);
    expect(fixture.names()).toEqual([]);
  });

  test('midway leaves what was there and nothing else; the next one that fits is made', async () => {
    mount('-t', 'tmpfs', '-o', 'size=256k', 'tmpfs');
    const before = await fixture.write('s');
    const names = fixture.names();
    await expect(write(noise(1 << 20))).rejects.toMatchObject({
      code: 'BackupFailed',
      message: expect.stringContaining('ENOSPC'),
      details: { errno: 'ENOSPC' },
    });
    expect(fixture.names()).toEqual(names);
    const after = await fixture.write('s');
    expect((await fixture.store.list()).map(({ name }) => name)).toEqual([after.name, before.name]);
  });

  test('of names leaves nothing', async () => {
    // The directory and the tar; there is no inode for the manifest.
    mount('-t', 'tmpfs', '-o', 'size=256k,nr_inodes=2', 'tmpfs');
    await expect(fixture.write('s')).rejects.toMatchObject({
      code: 'BackupFailed',
      details: { errno: 'ENOSPC' },
    });
    expect(fixture.names()).toEqual([]);
  });

  test('a backup of the session that was small is counted on', async () => {
    mount('-t', 'tmpfs', '-o', 'size=256k', 'tmpfs');
    await fixture.write('s', smallTar(Buffer.alloc(1 << 20)), { usedBytes: 1 });
    await fixture.write('s', smallTar(Buffer.alloc(1 << 20)), { usedBytes: 1 << 20 });
    await expect(fixture.write('t', smallTar(''), { usedBytes: 1 << 20 })).rejects.toThrow('no room');
  });
});

describe('a destination that cannot be written', () => {
  test("because it is mounted read-only, or is another user's", async () => {
    mkdirSync(fixture.destination);
    const isRoot = process.getuid?.() === 0;
    if (isRoot) {
      mount('--bind', fixture.destination);
      run('mount', ['-o', 'remount,ro,bind', fixture.destination]);
    } else {
      chmodSync(fixture.destination, 0o500);
    }
    await expect(fixture.write('s')).rejects.toMatchObject({
      code: 'BackupFailed',
      details: { errno: isRoot ? 'EROFS' : 'EACCES' },
    });
    expect(fixture.names()).toEqual([]);
    expect(fixture.warnings).toEqual([]);
  });

  test('because it is a file', async () => {
    writeFileSync(fixture.destination, 'mine');
    await expect(fixture.write('s')).rejects.toMatchObject({ code: 'BackupFailed' });
    await expect(fixture.store.list()).rejects.toMatchObject({ code: 'BackupFailed' });
    expect(statSync(fixture.destination).size).toBe(4);
  });
});

describe('a destination that vanishes midway', () => {
  const midway = 4 << 20;
  const at = (givenBytes: number, act: () => void) => (given: number) => {
    if (given === givenBytes) act();
  };

  test('removed', async () => {
    const tar = noise(
      2 * midway,
      at(midway, () => rmSync(fixture.destination, { recursive: true })),
    );
    await expect(write(tar)).rejects.toMatchObject({ code: 'BackupFailed', details: { errno: 'ENOENT' } });
    expect(readdirSync(fixture.dir)).toEqual([]);
  });

  test('moved away, and another put in its place', async () => {
    const away = join(fixture.dir, 'away');
    const tar = noise(
      2 * midway,
      at(midway, () => {
        renameSync(fixture.destination, away);
        mkdirSync(fixture.destination);
      }),
    );
    await expect(write(tar)).rejects.toMatchObject({
      code: 'BackupFailed',
      message: expect.stringContaining('removed or replaced'),
    });
    expect(readdirSync(away)).toEqual([]);
    expect(fixture.names()).toEqual([]);
  });

  test('unmounted from below it', async () => {
    mount('-t', 'tmpfs', '-o', 'size=64m', 'tmpfs');
    const tar = noise(
      2 * midway,
      at(midway, () => {
        run('umount', ['--lazy', fixture.destination]);
        mounts.pop();
      }),
    );
    await expect(write(tar)).rejects.toMatchObject({ code: 'BackupFailed' });
    expect(fixture.names()).toEqual([]);
  });
});

describe('giving up', () => {
  test('before it begins makes nothing', async () => {
    const reason = new Error('enough');
    await expect(write(noise(1), { signal: AbortSignal.abort(reason) })).rejects.toMatchObject({
      code: 'Cancelled',
      cause: reason,
    });
    expect(readdirSync(fixture.dir)).toEqual([]);
  });

  test('midway leaves nothing, and lets go of the source', async () => {
    const stop = new AbortController();
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    const tar = (async function* () {
      try {
        yield* noise(8 << 20, (given) => given === 4 << 20 && stop.abort());
      } finally {
        resolve();
      }
    })();
    await expect(write(tar, { signal: stop.signal })).rejects.toMatchObject({ code: 'Cancelled' });
    expect(fixture.names()).toEqual([]);
    await closed;
  });

  test('does not wait for a source that says nothing', async () => {
    const stop = new AbortController();
    const tar = (async function* () {
      yield raw({ size: 99 });
      stop.abort();
      await new Promise(() => {});
    })();
    await expect(write(tar, { signal: stop.signal })).rejects.toMatchObject({ code: 'Cancelled' });
    expect(fixture.names()).toEqual([]);
  });

  test('a full destination does not wait for a source that says nothing either', async () => {
    mount('-t', 'tmpfs', '-o', 'size=256k', 'tmpfs');
    const tar = (async function* () {
      yield* [raw({ size: 64 << 20 }), randomBytes(4 << 20)];
      await new Promise(() => {});
    })();
    await expect(write(tar)).rejects.toMatchObject({ details: { errno: 'ENOSPC' } });
    expect(fixture.names()).toEqual([]);
  });
});

test.each([
  ['at once', 0],
  ['midway', 4 << 20],
])('an error of the source passes through as it is, %s', async (_when, givenBytes) => {
  const error = Object.assign(new Error('guest gone'), { code: 'ENOSPC' });
  const tar = noise(8 << 20, (given) => {
    if (given === givenBytes) throw error;
  });
  await expect(write(tar)).rejects.toBe(error);
  expect(fixture.names()).toEqual([]);
});

test('what failed is tried again under the same name', async () => {
  await expect(write(chunksOf(tarOf(raw({ type: '4' }))))).rejects.toMatchObject({ code: 'BackupFailed' });
  expect((await fixture.write('s')).name).toBe('s-20300102T030405Z.tar.zst');
  expect(fixture.names()).toHaveLength(2);
});
