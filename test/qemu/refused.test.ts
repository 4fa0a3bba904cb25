import {
  closeSync,
  copyFileSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Database } from '../../src/store/index.ts';
import type { VmRuntime } from '../../src/vm/index.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { digestOf, furnish, sh } from './witness.ts';

type Damage = (path: string, other: string) => void;

const damages: Readonly<Record<string, Damage>> = {
  'was cut short': (path) => truncateSync(path, statSync(path).size - 1),
  'is gone': (path) => rmSync(path),
  'had a bit flipped': flipBit,
  "is another snapshot's": (path, other) => {
    rmSync(path);
    copyFileSync(other, path);
  },
};

/** A bit in the middle, with the file's other names left as they are: they may be of the same snapshot's ancestors. */
function flipBit(path: string): void {
  const at = Math.floor(statSync(path).size / 2);
  const byte = Buffer.alloc(1);
  const file = openSync(path, 'r+');
  try {
    readSync(file, byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 0x10;
    writeSync(file, byte, 0, 1, at);
  } finally {
    closeSync(file);
  }
}

/** Gives a file bytes of its own, under the same name. */
function detach(path: string): void {
  copyFileSync(path, `${path}.copy`);
  renameSync(`${path}.copy`, path);
}

describe('what is not as it was made is refused', { sequential: true }, () => {
  let fixture: RuntimeFixture;
  let runtime: VmRuntime;
  let digest: string;
  let dirs: { good: string; other: string };

  beforeAll(async () => {
    fixture = await openRuntimeFixture();
    runtime = await fixture.open();
    await runtime.create({ id: 'source', image: 'builtin', diskMiB: 256 });
    await runtime.start('source');
    await runtime.snapshot('source', { id: 'other' });
    const before = readdirSync(fixture.stateDir.snapshotsDir);
    await furnish(runtime, 'source');
    await sh(runtime, 'source', 'head -c 3000000 /dev/urandom > /root/more; sync');
    digest = await digestOf(runtime, 'source');
    await runtime.snapshot('source', { id: 'good' });
    const after = readdirSync(fixture.stateDir.snapshotsDir);
    const [good = '', other = ''] = [after.find((name) => !before.includes(name)), before[0]];
    dirs = {
      good: join(fixture.stateDir.snapshotsDir, good),
      other: join(fixture.stateDir.snapshotsDir, other),
    };
    await runtime.stop('source');
  });
  afterEach(async () => {
    for (const { id, status } of await runtime.list())
      if (status !== 'destroyed' && id !== 'source') await runtime.destroy(id);
    await fixture.expectNothingUnlisted(runtime);
  });
  afterAll(async () => {
    if (!fixture) return;
    await runtime.destroy('source');
    await runtime.close();
    fixture.close();
  });

  describe.each(Object.entries(damages))('a snapshot of which a file %s', (_name, damage) => {
    test.each(['0.pages', '1.pages', '2.pages', 'device.state', '0.qcow2', '1.qcow2', '2.qcow2'])(
      '(%s)',
      async (file) => {
        const path = join(dirs.good, file);
        const kept = join(fixture.stateDir.root, 'kept');
        renameSync(path, kept);
        copyFileSync(kept, path);
        try {
          const other = file.startsWith('1') ? file.replace('1', '0') : file.replace(/^\d/, '1');
          damage(path, join(dirs.other, other));
          await expect(runtime.restore('source/good', { id: 'copy' })).rejects.toMatchObject({
            code: 'SnapshotCorrupt',
            message: expect.stringContaining(file),
          });
          expect(await runtime.get('copy')).toBeUndefined();
        } finally {
          rmSync(path, { force: true });
          renameSync(kept, path);
        }
      },
    );
  });

  test.each(['qemu', 'accelerator', 'cpuModel', 'kernel', 'initramfs', 'layout'])(
    'a snapshot that was made with another %s: its memory, not its disk',
    async (fact) => {
      await withFact(fact, async () => {
        await expect(runtime.restore('source/good', { id: 'copy' })).rejects.toMatchObject({
          code: 'SnapshotIncompatible',
          details: { fact, expected: 'something else' },
        });
        await runtime.restore('source/good', { id: 'copy', memory: 'exclude' });
      });
    },
  );

  test('when all is as it was made it is restored', async () => {
    await runtime.restore('source/good', { id: 'copy' });
    await runtime.start('copy');
    expect(await digestOf(runtime, 'copy')).toBe(digest);
  });

  describe.each(Object.entries(damages))('a suspended VM of whose memory a file %s', (_name, damage) => {
    test.each(['0.pages', '3.pages', 'device.state'])('(%s)', async (file) => {
      await runtime.restore('source/good', { id: 'copy' });
      await runtime.start('copy');
      await runtime.stop('copy', { memory: true });
      const path = join(fixture.stateDir.vmsDir, 'copy/memory', file);
      detach(path);
      damage(path, join(dirs.other, file === 'device.state' ? file : '1.pages'));
      await expect(runtime.start('copy')).rejects.toMatchObject({
        code: 'SnapshotCorrupt',
        message: expect.stringContaining(path),
      });
      expect(await runtime.get('copy')).toMatchObject({ status: 'stopped' });
    });
  });

  test('a suspended VM of whose memory a file was only copied goes on', async () => {
    await runtime.restore('source/good', { id: 'copy' });
    await runtime.start('copy');
    await runtime.stop('copy', { memory: true });
    detach(join(fixture.stateDir.vmsDir, 'copy/memory/0.pages'));
    await runtime.start('copy');
    expect(await digestOf(runtime, 'copy')).toBe(digest);
  });

  test.each(Object.keys(damages).slice(0, 3))('a memory image that %s is made anew', async (name) => {
    await runtime.restore('source/good', { id: 'first' });
    await runtime.start('first');
    await runtime.destroy('first');
    const dir = join(fixture.stateDir.templatesDir, 'memory');
    for (const image of readdirSync(dir).filter((entry) => entry.endsWith('.raw')))
      damages[name]?.(join(dir, image), '');
    await runtime.restore('source/good', { id: 'copy' });
    await runtime.start('copy');
    expect(await digestOf(runtime, 'copy')).toBe(digest);
  });

  test('a later snapshot of a VM does not make good a damaged layer that it shares with an earlier one', async () => {
    await runtime.restore('source/good', { id: 'copy' });
    await runtime.start('copy');
    await runtime.snapshot('copy', { id: 'one' });
    const [uid = ''] = readdirSync(fixture.stateDir.snapshotsDir).filter(
      (entry) => ![dirs.good, dirs.other].map((dir) => basename(dir)).includes(entry),
    );
    const layers = readdirSync(join(dirname(dirs.good), uid))
      .filter((file) => file.endsWith('.qcow2'))
      .sort();
    flipBit(join(dirname(dirs.good), uid, layers.at(-1) ?? ''));
    await runtime.snapshot('copy', { id: 'two' });
    await expect(runtime.restore('copy/two', { id: 'copy-two' })).rejects.toMatchObject({
      code: 'SnapshotCorrupt',
    });
    await runtime.destroy('copy');
    for (const id of ['two', 'one'] as const) await runtime.snapshots.remove(`copy/${id}`);
  });

  describe('a template', { sequential: true }, () => {
    test.each(['0.pages', 'device.state', 'template.json'])(
      'of which %s is damaged is made anew',
      async (file) => {
        const dir = join(fixture.stateDir.templatesDir, templateName());
        const before = statSync(dir).birthtimeMs;
        detach(join(dir, file));
        if (file === 'template.json') truncateSync(join(dir, file), 10);
        else flipBit(join(dir, file));
        await runtime.create({ id: 'copy', image: 'builtin', diskMiB: 256 });
        await runtime.start('copy');
        expect(statSync(join(fixture.stateDir.templatesDir, templateName())).birthtimeMs).not.toBe(before);
        expect(await sh(runtime, 'copy', 'echo works')).toBe('works\n');
      },
    );
  });

  function templateName(): string {
    return readdirSync(fixture.stateDir.templatesDir).find((name) => /^[0-9a-f]{32}$/.test(name)) ?? '';
  }

  /** As if the snapshot had been made elsewhere. */
  async function withFact(fact: string, work: () => Promise<void>): Promise<void> {
    using database = new Database(fixture.stateDir.databasePath);
    const rows = database.prepare('SELECT uid, manifest FROM snapshots').all();
    const row = rows.find(({ uid }) => uid === basename(dirs.good));
    const manifest = JSON.parse(String(row?.manifest));
    manifest.facts[fact] = 'something else';
    const set = database.prepare('UPDATE snapshots SET manifest = ? WHERE uid = ?');
    set.run(JSON.stringify(manifest), basename(dirs.good));
    try {
      await work();
    } finally {
      set.run(String(row?.manifest), basename(dirs.good));
    }
  }
});
