import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import ignore, { type Ignore } from 'ignore';
import { AlcoveError } from '../../errors.ts';
import type { SelectEntry } from '../../guest/index.ts';

/** The rules of one `.gitignore`, for what is below its directory. */
interface Level {
  /** Relative to the folder, with a slash at the end; empty for the folder itself. */
  directory: string;
  rules: Ignore;
}

/**
 * The `.gitignore` files in a folder: of those above a path the deepest that says something of it decides, and what is in a
 * directory that is left out is never asked about. Of patterns the npm package `ignore` knows all; it knows no nested files.
 * Neither files above the folder count, nor git's settings.
 */
export class Gitignore {
  readonly #folder: string;
  /** From the top down, by directory that was looked into. */
  readonly #levels = new Map<string, Promise<readonly Level[]>>();
  readonly #digest: Hash = createHash('sha256');

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Whether something in the folder is left out. Asked of a directory before what is in it. */
  async ignores({ path, isDirectory }: Pick<SelectEntry, 'path' | 'isDirectory'>): Promise<boolean> {
    return decide(await this.#levelsIn(parentOf(path)), isDirectory ? `${path}/` : path);
  }

  /** As {@link ignores}, of something that is not in the folder. The rules that were read count, no other is. */
  async wouldIgnore({ path, isDirectory }: Pick<SelectEntry, 'path' | 'isDirectory'>): Promise<boolean> {
    return decide(await this.#knownLevels(parentOf(path)), isDirectory ? `${path}/` : path);
  }

  /** Of all rules that were read; final. */
  digest(): string {
    return this.#digest.digest('hex');
  }

  #levelsIn(directory: string): Promise<readonly Level[]> {
    let levels = this.#levels.get(directory);
    if (!levels) {
      levels = this.#readLevels(directory);
      this.#levels.set(directory, levels);
    }
    return levels;
  }

  async #readLevels(directory: string): Promise<readonly Level[]> {
    const above = directory === '' ? [] : await this.#levelsIn(parentOf(directory));
    const levels = above.map((level) => reincluding(level, `${directory}/`));
    const text = readRules(join(this.#folder, directory, '.gitignore'));
    if (text === undefined) return levels;
    for (const part of [directory, text]) this.#digest.update(`${Buffer.byteLength(part)}:${part}`);
    const rules = ignore({ ignorecase: false }).add(text);
    return [...levels, { directory: directory === '' ? '' : `${directory}/`, rules }];
  }

  async #knownLevels(directory: string): Promise<readonly Level[]> {
    const known = this.#levels.get(directory);
    if (known || directory === '') return known ?? [];
    const above = await this.#knownLevels(parentOf(directory));
    return above.map((level) => reincluding(level, `${directory}/`));
  }
}

/** What the deepest level says that says something. */
function decide(levels: readonly Level[], path: string): boolean {
  for (const { directory, rules } of levels.toReversed()) {
    const { ignored, unignored } = rules.test(byBytes(path.slice(directory.length)));
    if (ignored || unignored) return ignored;
  }
  return false;
}

/**
 * A level for what is below a directory that is not left out. Where its own rules would leave it out, a deeper level has
 * overruled them; but to `ignore` all that is below such a directory is left out, so it gets one rule more.
 */
function reincluding(level: Level, directory: string): Level {
  const path = byBytes(directory.slice(level.directory.length));
  if (!level.rules.test(path).ignored) return level;
  const pattern = `!/${path.replaceAll(/[\\*?[\]]/g, '\\$&')}`;
  return { ...level, rules: ignore({ ignorecase: false }).add(level.rules).add({ pattern }) };
}

/** To git `?` and `[!a]` are one byte, so each byte is a character. */
function byBytes(path: string): string {
  return Buffer.from(path).toString('latin1');
}

/** By bytes. As git does, follows no link. `undefined` when there are none. */
function readRules(path: string): string | undefined {
  let file: number | undefined;
  try {
    // At once: most directories have none, and to hear that takes 5 µs, or 100 by the thread pool.
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if (!fstatSync(file).isFile()) return undefined;
    return readFileSync(file, 'latin1').replace(/^\xef\xbb\xbf/, '');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR' || code === 'ENXIO') return undefined;
    throw new AlcoveError('HostFile', `${path}: ${code ?? error}`, {
      cause: error,
      details: { path, errno: code },
    });
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** Empty for the folder itself. */
function parentOf(path: string): string {
  const parent = posix.dirname(path);
  return parent === '.' ? '' : parent;
}
