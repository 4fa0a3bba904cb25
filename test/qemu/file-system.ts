import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';

/** Puts a snapshot's layers on top of each other and asks e2fsck, after the journal that any mount would replay. */
export function checkFileSystem(snapshotDir: string, tmpDir: string): void {
  const raw = join(tmpDir, 'flat.raw');
  let chain: object | undefined;
  for (let index = 0; existsSync(join(snapshotDir, `${index}.qcow2`)); index++) {
    const file = { driver: 'file', filename: join(snapshotDir, `${index}.qcow2`) };
    chain = { driver: 'qcow2', file, ...(chain && { backing: chain }) };
  }
  try {
    execFileSync('qemu-img', ['convert', '-O', 'raw', `json:${JSON.stringify(chain)}`, raw]);
    expect(
      execFileSync('dumpe2fs', ['-h', raw], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    ).not.toMatch(/needs_recovery/);
    execFileSync('e2fsck', ['-fn', raw], { stdio: 'pipe' });
  } finally {
    rmSync(raw, { force: true });
  }
}
