import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { moduleClosure } from './module-closure.ts';

const release = '6.1.0-test';

/** An ELF object with nothing but a `.modinfo` section. */
function elfModule(facts: readonly string[]): Buffer {
  const info = Buffer.from(facts.map((fact) => `${fact}\0`).join(''));
  const names = Buffer.from('\0.modinfo\0');
  const elf = Buffer.alloc(64 + 3 * 64 + info.length + names.length);
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  elf.writeBigUInt64LE(64n, 0x28);
  elf.writeUInt16LE(64, 0x3a);
  elf.writeUInt16LE(3, 0x3c);
  elf.writeUInt16LE(2, 0x3e);
  const section = (index: number, name: number, start: number, data: Buffer) => {
    elf.writeUInt32LE(name, 64 + index * 64);
    elf.writeBigUInt64LE(BigInt(start), 64 + index * 64 + 0x18);
    elf.writeBigUInt64LE(BigInt(data.length), 64 + index * 64 + 0x20);
    data.copy(elf, start);
  };
  section(1, 1, 256, info);
  section(2, 0, 256 + info.length, names);
  return elf;
}

function modulesDir(files: Record<string, Buffer | string>): string {
  const dir = mkdtempSync(join(tmpdir(), 'modules-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  for (const [name, data] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), data);
  }
  return dir;
}

const names = async (dir: string, ...wanted: string[]) =>
  (await moduleClosure(dir, { wanted, release })).map((module) => module.name);

test('what a module needs comes before it, once', async () => {
  const dir = modulesDir({
    'kernel/virtio/virtio.ko': elfModule(['depends=virtio_ring']),
    'kernel/virtio/virtio_ring.ko': elfModule(['depends=']),
    'kernel/virtio/virtio_pci.ko': elfModule(['depends=virtio,virtio_ring', `vermagic=${release} SMP`]),
    'kernel/block/virtio_blk.ko': elfModule(['depends=virtio,virtio_ring']),
  });
  expect(await names(dir, 'virtio_pci', 'virtio_blk')).toEqual([
    'virtio_ring',
    'virtio',
    'virtio_pci',
    'virtio_blk',
  ]);
});

test('a soft dependency is brought where it exists, also under its generic name', async () => {
  const dir = modulesDir({
    'ext4.ko': elfModule(['depends=jbd2', 'softdep=pre: crc32c absent post: later']),
    'jbd2.ko': elfModule(['depends=']),
    'crc32c_generic.ko': elfModule([]),
    'later.ko': elfModule([]),
  });
  expect(await names(dir, 'ext4')).toEqual(['jbd2', 'crc32c_generic', 'ext4']);
});

test('file names with dashes and built-in modules are known by the name the kernel uses', async () => {
  const dir = modulesDir({
    'virtio-rng.ko': elfModule(['depends=rng_core']),
    'modules.builtin': 'kernel/drivers/char/hw_random/rng-core.ko\nkernel/fs/ext4/ext4.ko\n',
  });
  expect(await names(dir, 'virtio_rng', 'ext4')).toEqual(['virtio_rng']);
});

test('compressed modules are given uncompressed', async () => {
  const plain = elfModule(['depends=']);
  const dir = modulesDir({
    'a.ko.gz': gzipSync(plain),
    'b.ko.zst': zstdCompressSync(plain),
    'c.ko.xz': spawnSync('xz', ['--stdout'], { input: plain }).stdout,
  });
  const found = await moduleClosure(dir, { wanted: ['a', 'b', 'c'], release });
  expect(found.map(({ data }) => data.equals(plain))).toEqual([true, true, true]);
});

const broken: [what: string, files: Record<string, Buffer | string>, message: RegExp][] = [
  ['is missing', {}, /no module a, which a guest needs/],
  ['needs one that is missing', { 'a.ko': elfModule(['depends=b']) }, /no module b, which a needs/],
  ['is of another kernel', { 'a.ko': elfModule(['vermagic=5.10.0 SMP']) }, /for kernel 5\.10\.0/],
  ['is no ELF object', { 'a.ko': 'text' }, /not a kernel module/],
  ['is cut', { 'a.ko': elfModule(['depends=']).subarray(0, 100) }, /not a kernel module/],
];

test.each(broken)('a module that %s is named', async (_what, files, message) => {
  await expect(names(modulesDir(files), 'a')).rejects.toMatchObject({
    code: 'KernelNotFound',
    message: expect.stringMatching(message),
  });
});
