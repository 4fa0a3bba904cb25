import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { inspectQcow2, writeEmptyQcow2 } from './qcow2.ts';

const dir = mkdtempSync(join(tmpdir(), 'alcove-qcow2-'));
afterAll(() => rmSync(dir, { recursive: true }));

const MiB = 1024 * 1024;

describe('an empty layer', () => {
  it.each([64 * MiB, 2048 * MiB, 2049 * MiB + 4096, 1024 * 1024 * MiB, 6 * 1024 * 1024 * MiB])(
    'of %d bytes is what qemu-img takes for sound',
    async (size) => {
      const path = join(dir, `${size}.qcow2`);
      await writeEmptyQcow2(path, size);
      const check = JSON.parse(
        execFileSync('qemu-img', ['check', '--output=json', path], { encoding: 'utf8' }),
      );
      expect(check).toMatchObject({ 'check-errors': 0 });
      expect(check.corruptions ?? 0).toBe(0);
      expect(check.leaks ?? 0).toBe(0);
      const info = JSON.parse(
        execFileSync('qemu-img', ['info', '--output=json', path], { encoding: 'utf8' }),
      );
      expect(info['virtual-size']).toBe(size);
      expect(info['backing-filename']).toBeUndefined();
      expect(await inspectQcow2(path)).toEqual({ virtualBytes: size, empty: true });
    },
  );

  it('is no longer empty once written to', async () => {
    const path = join(dir, 'written.qcow2');
    await writeEmptyQcow2(path, 64 * MiB);
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write 1M 64k', path]);
    expect(await inspectQcow2(path)).toMatchObject({ empty: false });
  });

  it('never replaces a file that is there', async () => {
    const path = join(dir, 'there.qcow2');
    writeFileSync(path, 'mine');
    await expect(writeEmptyQcow2(path, MiB)).rejects.toMatchObject({ code: 'EEXIST' });
    expect(readFileSync(path, 'utf8')).toBe('mine');
  });
});

describe('a layer that could lead QEMU elsewhere is refused', () => {
  it.each([
    ['names a backing file', ['-b', '/etc/hostname', '-F', 'raw', '-u']],
    ['uses features', ['-o', `data_file=${join(dir, 'data.raw')}`]],
    ['not version 3', ['-o', 'compat=0.10']],
  ])('%s', async (message, args) => {
    const path = join(dir, 'hostile.qcow2');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...args, path, '64M']);
    await expect(inspectQcow2(path)).rejects.toMatchObject({
      code: 'SnapshotCorrupt',
      message: expect.stringContaining(message),
    });
  });

  it.each([
    ['too short', Buffer.from('QFI')],
    ['no qcow2', Buffer.alloc(4096)],
  ])('%s', async (message, bytes) => {
    const path = join(dir, 'short.qcow2');
    writeFileSync(path, bytes);
    await expect(inspectQcow2(path)).rejects.toMatchObject({ message: expect.stringContaining(message) });
  });

  it('that is absent', async () => {
    await expect(inspectQcow2(join(dir, 'absent'))).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
  });
});
