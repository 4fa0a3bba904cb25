import { realpathSync, statSync } from 'node:fs';
import { posix, resolve } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import type { Select } from '../../guest/index.ts';
import type { Injection } from '../action.ts';
import { Gitignore } from './gitignore.ts';

/** An injection that was looked at: where it goes from and to, and what of it. */
export interface Folder {
  /** A real path. */
  from: string;
  /** Without `.`, `..` and a slash at the end. */
  to: string;
  /** What belongs to it. */
  select: Select;
  /** Whether something in the guest that the folder has not is none of its business. */
  keepsInGuest: (path: string, isDirectory: boolean) => Promise<boolean>;
  /** Digest of the rules that say so; when all was selected. */
  rules: () => string;
}

/** @throws AlcoveError `InvalidInput`, `HostFile` */
export async function openFolder({ from, to, ignore = 'gitignore', mirror }: Injection): Promise<Folder> {
  if (!to.startsWith('/')) throw invalid('inject.to', `${to} is not absolute`);
  if (to.includes('\0') || from.includes('\0')) throw invalid('inject', 'a path with a NUL character');
  const path = guestPath(to);
  if (mirror && path === '/') throw invalid('inject.mirror', 'a mirror of / would remove the whole system');
  const real = folderAt(from);
  const rules = new Gitignore(real);
  const ignores = ignore === 'gitignore';
  return {
    from: real,
    to: path,
    select: async (entry) => !isGit(entry.path) && !(ignores && (await rules.ignores(entry))),
    keepsInGuest: async (path, isDirectory) =>
      isGit(path) || (ignores && (await rules.wouldIgnore({ path, isDirectory }))),
    rules: () => rules.digest(),
  };
}

/** One way to write each path in the guest. */
export function guestPath(path: string): string {
  return posix.resolve('/', path);
}

function folderAt(from: string): string {
  const path = resolve(from);
  let errno = 'ENOTDIR';
  let cause: unknown;
  try {
    // At once: two turns of the thread pool would take longer than all the rest of a small folder.
    if (statSync(path).isDirectory()) return realpathSync.native(path);
  } catch (error) {
    cause = error;
    errno = (error as NodeJS.ErrnoException).code ?? String(error);
  }
  throw new AlcoveError('HostFile', `${path} is no folder that can be injected: ${errno}`, {
    cause,
    details: { path, errno },
  });
}

/** Also the file that a work tree or a submodule has. */
function isGit(path: string): boolean {
  return posix.basename(path) === '.git';
}

function invalid(field: string, problem: string): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', `${field}: ${problem}`, { details: { field } });
}
