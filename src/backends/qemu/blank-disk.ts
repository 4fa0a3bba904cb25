import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '../../host/index.ts';
import { renameDurably, type StateDir, storageError, syncPath } from '../../store/index.ts';
import { MiB } from './sizes.ts';

/**
 * Empty ext4 file systems, one per size, made once per state directory and shared by every disk of that size as its
 * lowest layer. No root is needed. As qcow2 one takes 0.3–1 MB whatever its size.
 */
export class BlankDisks {
  readonly #stateDir: Pick<StateDir, 'templatesDir' | 'tmpDir'>;
  readonly #making = new Map<number, Promise<string>>();

  constructor(stateDir: Pick<StateDir, 'templatesDir' | 'tmpDir'>) {
    this.#stateDir = stateDir;
  }

  /** Path of the blank of that size; calls at once share the making. Errors: `ToolMissing`, `ToolFailed`, `StateUnusable`. */
  async get(sizeMiB: number): Promise<string> {
    // The number names the recipe: another one makes other bytes, and what builds on the old ones has them linked.
    const path = join(this.#stateDir.templatesDir, `blank-ext4-${sizeMiB}MiB-1.qcow2`);
    if (await exists(path)) return path;
    let making = this.#making.get(sizeMiB);
    if (!making) {
      making = this.#make(path, sizeMiB).finally(() => this.#making.delete(sizeMiB));
      this.#making.set(sizeMiB, making);
    }
    return making;
  }

  async #make(path: string, sizeMiB: number): Promise<string> {
    const raw = join(this.#stateDir.tmpDir, `blank-${sizeMiB}-${process.pid}.raw`);
    const made = `${raw}.qcow2`;
    try {
      {
        await using file = await open(raw, 'w', 0o600);
        await file.truncate(sizeMiB * MiB);
      }
      // On a file that is all hole, mke2fs knows its inode tables to be zero and marks them so: no guest ever zeroes them
      // in the background, which would write 1.6 % of the disk's size into every VM's layer.
      await runTool('mkfs.ext4', ['-q', '-F', '-m', '0', '-L', 'alcove', raw]);
      await runTool('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, made]);
      await using file = await open(made, 'r');
      await file.chmod(0o444);
      await syncPath(made);
      await renameDurably(made, path);
      return path;
    } catch (error) {
      throw storageError(path, error);
    } finally {
      await rm(raw, { force: true });
      await rm(made, { force: true });
    }
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
