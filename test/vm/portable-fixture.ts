import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SnapshotRef, VmRuntime } from '../../src/vm/index.ts';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

export const squashfs = Buffer.from('hsqs, a root file system');
export const initramfs = Buffer.from('070701, with the agent');
export const bzImage = makeBzImage('6.1.0-test');

type FixtureOptions = Parameters<typeof openFixture>[0];

/** A state directory with stores of its own and nothing in them. */
export function openElsewhere(options: FixtureOptions = {}): Promise<RuntimeFixture> {
  return openFixture({ stores: 'real', ...options });
}

/**
 * A state directory with an image, a kernel and a VM of both, which runs and wrote `/root/note` before its snapshots `s1` and `s2`
 * were taken.
 */
export async function openOrigin(options: FixtureOptions = {}): Promise<RuntimeFixture> {
  const fixture = await openElsewhere(options);
  const { runtime, root } = fixture;
  const given = join(root, 'given');
  mkdirSync(given);
  writeFileSync(join(given, 'vmlinuz'), bzImage);
  writeFileSync(join(given, 'initramfs'), initramfs);
  await addImage(fixture, sha256Of('what the image is called'));
  await runtime.create({
    id: 'vm',
    image: sha256Of('what the image is called'),
    kernel: join(given, 'vmlinuz'),
    initramfs: join(given, 'initramfs'),
    env: { A: '1' },
    bootArgs: ['quiet'],
  });
  await runtime.start('vm');
  for (const id of ['s1', 's2']) {
    await runtime.exec('vm', { command: `write /root/note ${id}` });
    await runtime.exec('vm', { command: 'sync' });
    await runtime.snapshot('vm', { id });
  }
  return fixture;
}

/** Puts an image into the real store. */
export async function addImage(
  { realImages, root }: RuntimeFixture,
  digest: string,
  bytes = squashfs,
): Promise<void> {
  const staged = join(root, 'tmp', 'staged');
  writeFileSync(staged, bytes);
  const config = { env: { PATH: '/bin' }, user: 'root', entrypoint: ['/init'] };
  (await realImages.place({ digest, config, source: 'a test' }, staged)).record();
}

export async function exported(runtime: VmRuntime, ref: SnapshotRef): Promise<Buffer> {
  return bytesOf(runtime.snapshots.export(ref));
}

export async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A stream of the bytes, in chunks as a file's reader gives them. */
export async function* chunksOf(bytes: Uint8Array, size = 64 << 10): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

/** Every file of a state directory with its content's digest, and every row: what must be as before after an import that failed. */
export function everythingOf({ root, database }: RuntimeFixture): unknown {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.startsWith('alcove.db') && statSync(join(root, name)).isFile())
    .sort()
    .map((name) => [name, sha256Of(readFileSync(join(root, name)))]);
  const tables = ['vms', 'snapshots', 'vm_journal', 'images', ...cacheTables({ database })];
  const rows = tables.map((table) => database.prepare(`SELECT * FROM ${table}`).all());
  return { files, rows };
}

/** Those of a cache, where there is one; what is counted in them besides entries is left out. */
function cacheTables({ database }: Pick<RuntimeFixture, 'database'>): string[] {
  return database
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'cache!_%' ESCAPE '!'")
    .all()
    .map(({ name }) => String(name))
    .sort();
}

export function sha256Of(data: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

/** As much of a kernel as is looked at: its header, with the release (Documentation/arch/x86/boot.rst). */
function makeBzImage(release: string): Buffer {
  const image = Buffer.alloc(4096, 7);
  image.write('HdrS', 0x202);
  image.writeUInt16LE(0x400, 0x20e);
  image.write(`${release} (a test) #1\0`, 0x600);
  return image;
}
