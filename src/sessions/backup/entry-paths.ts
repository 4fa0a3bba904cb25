import { hash } from 'node:crypto';
import { invalidBackup } from './backup-error.ts';

/** The longest name that is looked at. Linux opens paths up to 4 KiB; trees that are deeper than that can still be made, step by step. */
const maxNameBytes = 64 << 10;

/**
 * Looks at where the entries of an archive would come to lie: nothing outside, nothing through a link that the archive itself brings.
 *
 * Of each symlink it keeps a key of some 40 bytes, however long its name: hostile names would else fill the memory.
 */
export class EntryPaths {
  readonly #symlinks = new Set<string>();
  /** The last directory that was found not to lead through a symlink: most entries lie beside the one before. */
  #clear: string | undefined;

  /**
   * The parts of a name of the archive's directory, or of something below it.
   *
   * @param what it names, for messages
   * @param entry that has it
   * @throws AlcoveError `BackupInvalid`
   */
  check(name: string, what: string, entry: string = name): string[] {
    const refused = (why: string) => invalidBackup('refused', `the tar has ${what} ${why}`, { entry });
    if (name === '') throw invalidBackup('damaged', `the tar has ${what} without a name`);
    if (name.length > maxNameBytes) throw refused(`of more than ${maxNameBytes} bytes`);
    if (name.startsWith('/')) throw refused('with an absolute name');
    if (name.includes('\0')) throw refused('with NUL in its name');
    const parts = name.split('/').filter((part) => part !== '' && part !== '.');
    if (parts.includes('..')) throw refused('with .. in its name');
    if (this.#leadsThroughSymlink(parts)) throw refused('below a symlink of its own');
    return parts;
  }

  /** From now on nothing may come below it: it stays so when a later entry replaces it, as not every reader of tars would. */
  addSymlink(parts: readonly string[]): void {
    this.#symlinks.add(parts.reduce(below, ''));
    this.#clear = undefined;
  }

  isSymlink(parts: readonly string[]): boolean {
    return this.#symlinks.size > 0 && this.#symlinks.has(parts.reduce(below, ''));
  }

  #leadsThroughSymlink(parts: readonly string[]): boolean {
    if (this.#symlinks.size === 0) return false;
    const parents = parts.slice(0, -1);
    const directory = parents.join('/');
    if (directory === this.#clear) return false;
    let key = '';
    for (const part of parents) {
      key = below(key, part);
      if (this.#symlinks.has(key)) return true;
    }
    this.#clear = directory;
    return false;
  }
}

/** The key of a name below another: itself while it is short, else a digest over the parent's key. */
function below(key: string, part: string): string {
  const path = `${key}/${part}`;
  return path.length <= 44 ? path : hash('sha256', path, 'base64');
}
