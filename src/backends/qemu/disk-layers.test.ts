import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  checkLayers,
  exportLayers,
  makeDisk,
  makeTop,
  snapshotLayers,
  topIsEmpty,
  withNewTop,
} from './disk-layers.ts';
import { writeEmptyQcow2 } from './qcow2.ts';

const size = 64 << 20;
let root: string;
const at = (name: string) => join(root, name);

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'alcove-layers-'));
  for (const dir of ['jail', 'snapshot', 'other']) mkdirSync(at(dir));
  await writeEmptyQcow2(at('blank.qcow2'), size);
});
afterEach(() => rmSync(root, { recursive: true }));

const freshDisk = (jail = 'jail') =>
  makeDisk(at(jail), [{ path: at('blank.qcow2'), digest: null }], size, 'changed');

describe("a VM's disk", () => {
  it('starts as the shared blank below a layer of its own', async () => {
    const disk = await freshDisk();
    expect(disk).toMatchObject({ top: 1, layers: [{ file: '0.qcow2' }] });
    expect(statSync(at('jail/0.qcow2')).ino).toBe(statSync(at('blank.qcow2')).ino);
    expect(await topIsEmpty(at('jail'), disk)).toBe(true);
    await checkLayers(at('jail'), disk);
  });

  it('is exported as links, digested once, and comes back in another VM', async () => {
    const next = withNewTop(await freshDisk());
    await makeTop(at('jail'), next, undefined);
    const { layers, files } = await exportLayers(at('jail'), next, at('snapshot'));
    expect(readdirSync(at('snapshot')).sort()).toEqual(['0.qcow2', '1.qcow2']);
    expect(statSync(at('snapshot/1.qcow2')).ino).toBe(statSync(at('jail/1.qcow2')).ino);
    expect(layers.every(({ digest }) => digest !== null)).toBe(true);
    const restored = await makeDisk(
      at('other'),
      await snapshotLayers(at('snapshot'), files),
      size,
      'changed',
    );
    rmSync(at('snapshot'), { recursive: true });
    await checkLayers(at('other'), restored);
    expect(restored).toMatchObject({ top: 2 });
  });

  it('is digested, and not taken for synced, when it need not survive power loss', async () => {
    const next = withNewTop(await freshDisk());
    await makeTop(at('jail'), next, undefined);
    const unsynced = await exportLayers(at('jail'), next, at('snapshot'), { durability: 'process' });
    expect(unsynced.layers).toEqual(next.layers);
    rmSync(at('snapshot'), { recursive: true });
    mkdirSync(at('snapshot'));
    const synced = await exportLayers(at('jail'), next, at('snapshot'));
    expect(synced.files).toEqual(unsynced.files);
    expect(synced.layers.every(({ digest }) => digest !== null)).toBe(true);
  });

  it('replaces a top that a crash left behind', async () => {
    const disk = await freshDisk();
    writeFileSync(at('jail/2.qcow2'), 'half');
    await makeTop(at('jail'), withNewTop(disk), undefined);
    await checkLayers(at('jail'), withNewTop(disk));
  });
});

describe('a snapshot is refused', () => {
  const listing = async () => {
    const next = withNewTop(await freshDisk());
    await makeTop(at('jail'), next, undefined);
    return (await exportLayers(at('jail'), next, at('snapshot'))).files;
  };

  it.each([
    ['a file is missing', () => rmSync(at('snapshot/0.qcow2')), 'missing'],
    [
      'a file has another size',
      () => {
        chmodSync(at('snapshot/1.qcow2'), 0o600);
        writeFileSync(at('snapshot/1.qcow2'), 'short');
      },
      'bytes long instead of',
    ],
  ])('when %s', async (_, damage, message) => {
    const files = await listing();
    damage();
    await expect(snapshotLayers(at('snapshot'), files)).rejects.toMatchObject({
      code: 'SnapshotCorrupt',
      message: expect.stringContaining(message),
    });
  });

  it('when it lists nothing, or another name', async () => {
    await expect(snapshotLayers(at('snapshot'), {})).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
    const files = await listing();
    const renamed = { '../../x': { sizeBytes: 1, sha256: '' }, ...files };
    await expect(snapshotLayers(at('snapshot'), renamed)).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
  });
});
