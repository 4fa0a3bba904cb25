import { realpath, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { AlcoveError, cancelled } from '../../errors.ts';
import { scanTree, type TreeEntry } from '../../guest/index.ts';
import { Limiter } from '../inject/limiter.ts';
import { invalidPolicy } from './policy-parts.ts';

/** So many files are read at once. */
const atOnce = 16;

/** A file that a policy depends on; of a folder also its links and the like. */
export interface PolicyFile {
  /** Absolute. */
  path: string;
  /** Relative to the base where it is below it, else absolute. */
  name: string;
  /** Its mode and the digest of its bytes. */
  text: string;
}

/**
 * The files that paths and globs mean; a folder means all files in it. Links are followed, but not those in a folder.
 *
 * @param base absolute
 * @throws AlcoveError `InvalidInput` naming a path that is missing or a glob that finds nothing, `HostFile`, `Cancelled`
 */
export async function policyFiles(
  patterns: readonly string[],
  base: string,
  signal: AbortSignal | undefined,
): Promise<PolicyFile[]> {
  const files: PolicyFile[] = [];
  for (const pattern of patterns) {
    const path = resolve(base, pattern);
    const found = (await readAll(path, base, signal)) ?? (await readGlob(pattern, base, signal));
    if (!found) throw invalidPolicy('onChange', `${pattern}: there is no such file or folder (${path})`);
    files.push(...found);
  }
  return files;
}

/** `undefined`: it is no glob. */
async function readGlob(
  pattern: string,
  base: string,
  signal: AbortSignal | undefined,
): Promise<PolicyFile[] | undefined> {
  if (!isDynamicPattern(pattern)) return undefined;
  const paths = await glob(pattern, {
    cwd: base,
    absolute: true,
    dot: true,
    expandDirectories: false,
    ...(signal && { signal }),
  });
  // It is no error to `glob`, which gives what it has found until then.
  if (signal?.aborted) throw cancelled(`looking for ${pattern}`, signal);
  const limiter = new Limiter(atOnce);
  const read = paths.sort().map((path) => limiter.run(() => readAll(path, base, signal)));
  // What has vanished since it was found does not count, as if it had done so before.
  const files = (await Promise.all(read)).flatMap((some) => some ?? []);
  if (files.length === 0) throw invalidPolicy('onChange', `${pattern} matches no file in ${base}`);
  return files;
}

/** A file, or the files in a folder. `undefined`: nothing is there. */
async function readAll(
  path: string,
  base: string,
  signal: AbortSignal | undefined,
): Promise<PolicyFile[] | undefined> {
  const there = await lookAt(path);
  if (!there) return undefined;
  const files: PolicyFile[] = [];
  for await (const entry of scanTree(there.realPath, { signal })) {
    if (entry.kind === 'directory') continue;
    const at = there.isDirectory ? join(path, entry.path) : path;
    files.push({ path: at, name: nameOf(at, base), text: textOf(entry) });
  }
  return files;
}

async function lookAt(path: string): Promise<{ realPath: string; isDirectory: boolean } | undefined> {
  try {
    return { realPath: await realpath(path), isDirectory: (await stat(path)).isDirectory() };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new AlcoveError('HostFile', `${path}: ${code}`, { cause: error, details: { path, errno: code } });
  }
}

function nameOf(path: string, base: string): string {
  const name = relative(base, path);
  return name === '..' || name.startsWith('../') ? path : name;
}

function textOf({ kind, mode, sha256, target }: TreeEntry): string {
  if (kind === 'symlink') return `link to ${target}`;
  return `${mode.toString(8).padStart(3, '0')} ${sha256 === undefined ? kind : `sha256:${sha256}`}`;
}
