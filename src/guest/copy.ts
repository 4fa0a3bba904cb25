import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { AlcoveError, isAlcoveError } from '../errors.ts';
import { invalid } from './failures.ts';
import type { CallOptions, FileKind, GuestChannel } from './guest-channel.ts';
import { errnoOf, hostFileError } from './tar/host-file-error.ts';
import { packPath } from './tar/pack-path.ts';
import { type UnpackLimits, unpackTo } from './tar/unpack-to.ts';

/** What is at a path: `absent` when nothing is, but its directory is there. */
type Place = 'directory' | 'file' | 'absent';

/** What the copies need of a guest. */
type WithFiles = Pick<GuestChannel, 'files'>;

export interface CopyInOptions extends CallOptions {
  /** Who owns the copies in the guest; `keep`: whoever owns the originals, by number. @default root */
  owner?: { uid: number; gid: number } | 'keep';
}

export interface CopyOutOptions extends CallOptions {
  limits?: UnpackLimits;
  /** As in {@link unpackTo}. @default 'mine' */
  owners?: 'keep' | 'mine';
}

/**
 * Copies a file or directory of the host into the guest, with the rules of `docker cp`: into a directory that exists it
 * goes under its own name; else the destination is its new name, in a directory that must exist. A directory given as
 * `dir/.` means what is in it. A link that is named as the source is followed; those below it are copied as links.
 *
 * @throws AlcoveError `HostFile`, `GuestFile`, `InvalidInput`, `Cancelled`, `GuestUnreachable`
 * @example
 * await copyIn(guest, './src/.', '/job');
 */
export async function copyIn(
  guest: WithFiles,
  hostPath: string,
  guestPath: string,
  options: CopyInOptions = {},
): Promise<void> {
  const { signal, owner = { uid: 0, gid: 0 } } = options;
  const call = signal ? { signal } : {};
  const source = await kindOnHost(hostPath);
  if (source === 'absent') throw hostFileError(hostPath, missing());
  const target = await guestPlace(guest, guestPath, call);
  const plan = planCopy(
    { path: hostPath, name: basename(resolve(hostPath)), place: source },
    { path: guestPath, place: target, split: posix },
  );
  const tar = packPath(await realpath(hostPath), {
    as: plan.contents ? '.' : plan.name,
    root: plan.contents ? 'leave-out' : 'include',
    chunks: 'borrowed',
    signal,
  });
  await guest.files.tarIn(plan.directory, tar, { ...call, ...(owner !== 'keep' && { owner }) });
}

/**
 * Copies a file or directory of the guest to the host; the rules are those of {@link copyIn}. What the guest sends is not
 * trusted: see {@link unpackTo} for what is refused.
 *
 * @throws AlcoveError `HostFile`, `GuestFile`, `InvalidInput`, `Cancelled`, `GuestUnreachable`
 */
export async function copyOut(
  guest: WithFiles,
  guestPath: string,
  hostPath: string,
  options: CopyOutOptions = {},
): Promise<void> {
  const { signal, limits, owners } = options;
  const call = signal ? { signal } : {};
  const source = await guestSource(guest, guestPath, call);
  const plan = planCopy(
    { path: guestPath, name: posix.basename(posix.resolve('/', guestPath)), place: source },
    { path: hostPath, place: await hostPlace(hostPath), split: { dirname, basename } },
  );
  const unpack = { signal, limits, ...(owners && { owners }) };
  const tar = guest.files.tarOut(guestPath, call);
  if (source === 'file') await unpackTo(plan.directory, tar, { ...unpack, as: plan.name });
  else await unpackTo(plan.contents ? plan.directory : join(plan.directory, plan.name), tar, unpack);
}

interface Source {
  path: string;
  /** What it is called when it keeps its name. */
  name: string;
  place: Exclude<Place, 'absent'>;
}

interface Target {
  path: string;
  place: Place;
  split: { dirname(path: string): string; basename(path: string): string };
}

/** Where a copy goes: under `name` in `directory`, or its contents right into `directory`. */
function planCopy(source: Source, target: Target): { directory: string; name: string; contents: boolean } {
  const contents = source.place === 'directory' && (meansContents(source.path) || source.name === '');
  if (target.place === 'directory') return { directory: target.path, name: source.name, contents };
  if (source.place === 'directory' && target.place === 'file') {
    throw invalid('destination', `${target.path} is a file, and ${source.path} a directory`);
  }
  if (source.place === 'file' && target.path.endsWith('/')) {
    throw invalid('destination', `${target.path} is not a directory that exists`);
  }
  // The new name is the destination's, so the directory itself is copied even when its contents were asked for.
  const directory = target.split.dirname(target.path);
  return { directory, name: target.split.basename(target.path), contents: false };
}

/** `dir/.`, or `.` alone. */
function meansContents(path: string): boolean {
  return path === '.' || path.endsWith('/.');
}

async function hostPlace(path: string): Promise<Place> {
  const kind = await kindOnHost(path);
  if (kind !== 'absent') return kind;
  const parent = dirname(path);
  if ((await kindOnHost(parent)) !== 'directory') throw hostFileError(parent, missing());
  return 'absent';
}

async function kindOnHost(path: string): Promise<Place> {
  try {
    return (await stat(path)).isDirectory() ? 'directory' : 'file';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'absent';
    throw hostFileError(path, error);
  }
}

async function guestSource(guest: WithFiles, path: string, call: CallOptions): Promise<Source['place']> {
  const kind = await followedKind(guest, path, call);
  if (kind === 'directory' || kind === 'file') return kind;
  if (kind === 'absent') throw missingInGuest(path);
  throw invalid('source', `${path} is neither a file nor a directory, but a ${kind}`);
}

async function guestPlace(guest: WithFiles, path: string, call: CallOptions): Promise<Place> {
  const kind = await followedKind(guest, path, call);
  if (kind !== 'absent') return kind === 'directory' ? 'directory' : 'file';
  const parent = posix.dirname(path);
  if ((await followedKind(guest, parent, call)) !== 'directory') throw missingInGuest(parent);
  return 'absent';
}

/** What a path in the guest is; of a link, whether it leads to a directory (what else it leads to counts as a file). */
async function followedKind(guest: WithFiles, path: string, call: CallOptions): Promise<FileKind | 'absent'> {
  const kind = await kindInGuest(guest, path, call);
  if (kind !== 'symlink') return kind;
  return (await kindInGuest(guest, `${path}/.`, call)) === 'directory' ? 'directory' : 'file';
}

async function kindInGuest(guest: WithFiles, path: string, call: CallOptions): Promise<FileKind | 'absent'> {
  try {
    return (await guest.files.stat(path, call)).kind;
  } catch (error) {
    const errno = isAlcoveError(error, 'GuestFile') ? error.details?.errno : undefined;
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return 'absent';
    throw error;
  }
}

function missingInGuest(path: string): AlcoveError<'GuestFile'> {
  return new AlcoveError('GuestFile', `${path} does not exist in the guest`, {
    details: { path, errno: 'ENOENT' },
  });
}

function missing(): NodeJS.ErrnoException {
  return Object.assign(new Error('there is no such file or directory'), { code: 'ENOENT', syscall: 'stat' });
}
