import { chmod, copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '../../host/index.ts';
import { builtAgentPath } from '../../images/index.ts';
import { digestFile, linkOrCopy } from '../../store/index.ts';
import { blankDisk } from './blank-disk.ts';
import { makeTop } from './disk-layers.ts';
import { layerFile } from './machine-args.ts';
import type { Drives } from './machine-drives.ts';
import type { MadeFiles } from './made-files.ts';
import { MiB } from './sizes.ts';
import type { DiskRecord } from './vm-record.ts';

/** Of the empty file system of a rehearsal: the least that has everything a real one has. */
const diskMiB = 64;

/**
 * Drives on which a guest does once what every start does, and which then go away: a disk in `dir`, which is made, and an image below it.
 *
 * @throws AlcoveError `ToolMissing`, `ToolFailed`, `StateUnusable`
 */
export async function rehearsalDrives(files: MadeFiles, dir: string): Promise<Drives> {
  const [imagePath, blank] = await Promise.all([rehearsalImage(files), blankDisk(files, diskMiB)]);
  await mkdir(dir, { recursive: true });
  const disk: DiskRecord = {
    virtualBytes: diskMiB * MiB,
    layers: [{ file: layerFile(0), digest: null }],
    top: 1,
    content: 'changed',
  };
  await linkOrCopy(blank, join(dir, layerFile(0)));
  await makeTop(dir, disk, undefined);
  return { diskDir: dir, disk, imagePath };
}

/** A squashfs with a program and the files that a guest rewrites. */
async function rehearsalImage(files: MadeFiles): Promise<string> {
  const { sha256 } = await digestFile(builtAgentPath);
  return files.get(`rehearsal-2-${sha256.slice(0, 16)}.squashfs`, async (dir) => {
    const root = join(dir, 'root');
    await mkdir(join(root, 'etc'), { recursive: true });
    for (const name of ['hostname', 'machine-id', 'hosts', 'passwd', 'group'])
      await writeFile(join(root, 'etc', name), `What ${name} holds is copied when it is written.\n`);
    await copyFile(builtAgentPath, join(root, 'no-op'));
    await chmod(join(root, 'no-op'), 0o755);
    await symlink('no-op', join(root, 'link'));
    const made = join(dir, 'squashfs');
    await runTool('mksquashfs', [root, made, '-comp', 'lz4', '-all-root', '-quiet', '-no-progress']);
    return made;
  });
}
