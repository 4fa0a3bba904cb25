import { chmod, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '../../host/index.ts';
import type { MadeFiles } from './made-files.ts';
import { MiB } from './sizes.ts';

/**
 * Path of an empty ext4 file system of a size, shared by every disk of that size as its lowest layer. No root is needed. As qcow2 one
 * takes 0.3–1 MB whatever its size.
 *
 * @throws AlcoveError `ToolMissing`, `ToolFailed`, `StateUnusable`
 */
export function blankDisk(files: MadeFiles, sizeMiB: number): Promise<string> {
  // The last number names the recipe.
  return files.get(`blank-ext4-${sizeMiB}MiB-1.qcow2`, async (dir) => {
    const raw = join(dir, 'raw');
    const made = join(dir, 'qcow2');
    await writeFile(raw, '', { mode: 0o600 });
    await truncate(raw, sizeMiB * MiB);
    // On a file that is all hole, mke2fs knows its inode tables to be zero and marks them so: no guest ever zeroes them
    // in the background, which would write 1.6 % of the disk's size into every VM's layer.
    await runTool('mkfs.ext4', ['-q', '-F', '-m', '0', '-L', 'alcove', raw]);
    await runTool('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, made]);
    await chmod(made, 0o444);
    return made;
  });
}
