import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SnapshotManifest, VmRuntime } from '../../src/vm/index.ts';
import { checkFileSystem } from './file-system.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { digestOf, furnish, sh } from './witness.ts';

const snapshots = 50;
/** Of which every one of these is looked at, and the last. */
const sample = 7;

/** Counts in memory first and on the disk then; so the disk is behind by one at most. */
const writer = `
i=0
while :; do
  i=$((i + 1))
  echo $i > /dev/shm/next-counted && mv /dev/shm/next-counted /dev/shm/counted
  echo $i >> /root/counted
  test $((i % 16)) -ne 0 || sync /root/counted
done`;

/**
 * What the disk, the memory, and the disk again say, and, when the writer has gone on, how many lines of the file are not the ones that belong
 * there: memory of one instant and a disk of another leave a gap, or a line twice. Nothing of the file is taken from a cache.
 */
const look = `
echo 3 > /proc/sys/vm/drop_caches
tail -n1 /root/counted
cat /dev/shm/counted
tail -n1 /root/counted
now=$(cat /dev/shm/counted)
until test $(cat /dev/shm/counted) -gt $((now + 2)); do usleep 2000; done
awk '$1 != NR' /root/counted | wc -l`;

/** A snapshot's directory and what is in it. */
interface Kept {
  ref: `${string}/${string}`;
  dir: string;
  manifest: SnapshotManifest;
}

describe('snapshots of a machine that never rests', { sequential: true }, () => {
  let fixture: RuntimeFixture;
  let runtime: VmRuntime;
  const taken: Kept[] = [];

  beforeAll(async () => {
    fixture = await openRuntimeFixture();
    runtime = await fixture.open();
    await runtime.create({ id: 'busy', image: 'builtin', diskMiB: 256 });
    await runtime.start('busy');
  });
  afterAll(() => fixture?.finish(runtime));

  async function take(id: string, name: string): Promise<Kept> {
    const before = readdirSync(fixture.stateDir.snapshotsDir);
    const { ref } = await runtime.snapshot(id, { id: name });
    const [uid = ''] = readdirSync(fixture.stateDir.snapshotsDir).filter((entry) => !before.includes(entry));
    const dir = join(fixture.stateDir.snapshotsDir, uid);
    return { ref, dir, manifest: JSON.parse(readFileSync(join(dir, 'manifest.json'), 'utf8')) };
  }

  test(`each of ${snapshots}, one upon the other, shows one instant`, async () => {
    await furnish(runtime, 'busy');
    await runtime.spawn('busy', { command: writer, detachedId: 'writer' });
    await sh(runtime, 'busy', 'until test -s /root/counted; do usleep 5000; done');
    for (let index = 0; index < snapshots; index++) taken.push(await take('busy', `s${index}`));
    expect(await sh(runtime, 'busy', 'cat /dev/shm/counted')).toMatch(/^\d+\n$/);
    let last = 0;
    for (const [index, { ref, dir }] of taken.entries()) {
      if (index % sample !== 0 && index !== snapshots - 1) continue;
      checkFileSystem(dir, fixture.stateDir.tmpDir);
      await runtime.restore(ref, { id: 'copy' });
      await runtime.start('copy');
      const [before = NaN, inMemory = NaN, after = NaN, torn] = (await sh(runtime, 'copy', look))
        .split('\n')
        .map(Number);
      expect(before).toBeLessThanOrEqual(inMemory);
      expect(inMemory).toBeLessThanOrEqual(after + 1);
      expect({ ref, torn }).toEqual({ ref, torn: 0 });
      expect(inMemory).toBeGreaterThan(last);
      last = inMemory;
      await runtime.destroy('copy');
    }
  });

  test('what is written is what changed', async () => {
    await runtime.stop('busy', { graceMs: 0 });
    await runtime.create({ id: 'quiet', image: 'builtin', diskMiB: 256 });
    await runtime.start('quiet');
    await furnish(runtime, 'quiet');
    await sh(runtime, 'quiet', 'head -c 20000000 /dev/urandom > /dev/shm/much');
    const first = await take('quiet', 'first');
    const second = await take('quiet', 'second');
    const newIn = ({ dir }: Kept, earlier: Kept) => {
      const had = new Set(Object.values(earlier.manifest.files).map(({ sha256 }) => sha256));
      const { files } = JSON.parse(readFileSync(join(dir, 'manifest.json'), 'utf8')) as SnapshotManifest;
      return Object.entries(files)
        .filter(([name, { sha256 }]) => name.endsWith('.pages') && !had.has(sha256))
        .map(([name]) => statSync(join(dir, name)).size);
    };
    const template = {
      ...first,
      manifest: { ...first.manifest, files: { '0.pages': first.manifest.files['0.pages'] } },
    } as Kept;
    const [written = 0] = newIn(first, template);
    const [writtenThen = 0] = newIn(second, first);
    expect(written).toBeGreaterThan(20_000_000);
    expect(writtenThen).toBeGreaterThan(0);
    expect(writtenThen).toBeLessThan(written / 4);
  });

  test('a copy of a copy, five deep, has the right bytes, each with what was added', async () => {
    let id = 'quiet';
    for (let depth = 0; depth < 5; depth++) {
      await sh(
        runtime,
        id,
        `echo ${depth} > /root/depth-${depth}; head -c 100000 /dev/urandom >> /dev/shm/secret; sync`,
      );
      const digest = await digestOf(runtime, id);
      const { ref, dir } = await take(id, `depth-${depth}`);
      checkFileSystem(dir, fixture.stateDir.tmpDir);
      await runtime.stop(id, { graceMs: 0 });
      id = `deep-${depth}`;
      await runtime.restore(ref, { id });
      await runtime.start(id);
      expect(await digestOf(runtime, id)).toBe(digest);
    }
    expect(await sh(runtime, id, 'cat /root/depth-*')).toBe('0\n1\n2\n3\n4\n');
  });

  test('a VM that is suspended more often than a stack of layers is high goes on as it was', async () => {
    const id = 'deep-4';
    await sh(runtime, id, 'rm /dev/shm/much');
    const digest = await digestOf(runtime, id);
    for (let round = 0; round < 33; round++) {
      await runtime.stop(id, { memory: true });
      await runtime.start(id);
    }
    expect(await digestOf(runtime, id)).toBe(digest);
    await runtime.stop(id, { memory: true });
    await fixture.expectNothingUnlisted(runtime);
    await runtime.close();
    runtime = await fixture.open();
    await runtime.start(id);
    expect(await digestOf(runtime, id)).toBe(digest);
  });
});
