import { chmod, copyFile, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '../../host/index.ts';
import { builtAgentPath } from '../../images/index.ts';
import {
  digestFile,
  linkOrCopy,
  renameDurably,
  type StateDir,
  storageError,
  syncPath,
} from '../../store/index.ts';
import type { BlankDisks } from './blank-disk.ts';
import { makeTop } from './disk-layers.ts';
import { layerFile } from './machine-args.ts';
import type { Drives } from './machine-drives.ts';
import { MiB } from './sizes.ts';
import type { DiskRecord } from './vm-record.ts';

/** Of the empty file system of a rehearsal: the least that has everything a real one has. */
const diskMiB = 64;

/** Drives on which a guest does once what every start does, and which then go away. */
export class Rehearsal {
  readonly #stateDir: Pick<StateDir, 'templatesDir' | 'tmpDir'>;
  readonly #blanks: BlankDisks;
  #making: Promise<string> | undefined;

  constructor(stateDir: Pick<StateDir, 'templatesDir' | 'tmpDir'>, blanks: BlankDisks) {
    this.#stateDir = stateDir;
    this.#blanks = blanks;
  }

  /** A disk in `dir`, which is made, and an image below it. @throws AlcoveError `ToolMissing`, `ToolFailed`, `StateUnusable` */
  async drives(dir: string): Promise<Drives> {
    this.#making ??= this.#image().finally(() => {
      this.#making = undefined;
    });
    const [imagePath, blank] = await Promise.all([this.#making, this.#blanks.get(diskMiB)]);
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

  /** A squashfs with a program and the files that a guest rewrites, made once per state directory and program. */
  async #image(): Promise<string> {
    const { sha256 } = await digestFile(builtAgentPath);
    const path = join(this.#stateDir.templatesDir, `rehearsal-2-${sha256.slice(0, 16)}.squashfs`);
    if (await stat(path).catch(() => undefined)) return path;
    const tmp = await mkdtemp(join(this.#stateDir.tmpDir, 'rehearsal-'));
    try {
      await mkdir(join(tmp, 'root', 'etc'), { recursive: true });
      for (const name of ['hostname', 'machine-id', 'hosts', 'passwd', 'group'])
        await writeFile(join(tmp, 'root/etc', name), `What ${name} holds is copied when it is written.\n`);
      await copyFile(builtAgentPath, join(tmp, 'root', 'no-op'));
      await chmod(join(tmp, 'root', 'no-op'), 0o755);
      await symlink('no-op', join(tmp, 'root', 'link'));
      const made = join(tmp, 'made.squashfs');
      await runTool('mksquashfs', [
        join(tmp, 'root'),
        made,
        '-comp',
        'lz4',
        '-all-root',
        '-quiet',
        '-no-progress',
      ]);
      await syncPath(made);
      await renameDurably(made, path);
      return path;
    } catch (error) {
      throw storageError(path, error);
    } finally {
      await rm(tmp, { recursive: true, force: true });
    }
  }
}
