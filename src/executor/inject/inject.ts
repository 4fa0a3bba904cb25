import { AlcoveError, isAlcoveError } from '../../errors.ts';
import {
  type CallOptions,
  type GuestFiles,
  listTree,
  packPath,
  scanTree,
  type TreeEntry,
  type TreeKind,
} from '../../guest/index.ts';
import type { Injection } from '../action.ts';
import type { InjectedTree } from '../keys/inputs.ts';
import { treeDigest } from '../keys/tree-digest.ts';
import { clearForMirror } from './clear-for-mirror.ts';
import { type Folder, openFolder } from './folder.ts';

export interface InjectOptions {
  signal?: AbortSignal;
  /** Told what a slow call is doing, in words for people. */
  onProgress?: (step: string) => void;
}

/**
 * What {@link inject} would copy now, without copying it.
 *
 * @throws AlcoveError `InvalidInput`, `HostFile`, `Cancelled`
 */
export async function injectedTree(
  injection: Injection,
  { signal }: { signal?: AbortSignal } = {},
): Promise<InjectedTree> {
  const folder = await openFolder(injection);
  const entries: TreeEntry[] = [];
  for await (const entry of scanTree(folder.from, { select: folder.select, signal })) entries.push(entry);
  return treeOf(injection, folder, entries);
}

/**
 * Copies a host folder into a guest, and says what was copied: of the very bytes that were sent, which are others than
 * {@link injectedTree} saw when a file has changed since. A file with several names becomes a file for each.
 *
 * @throws AlcoveError `InvalidInput`, `HostFile`, `GuestFile`, `Cancelled`, `GuestUnreachable`
 * @example
 * const tree = await inject(guest.files, { from: './project', to: '/src', mirror: true });
 */
export async function inject(
  files: GuestFiles,
  injection: Injection,
  options: InjectOptions = {},
): Promise<InjectedTree> {
  const folder = await openFolder(injection);
  const { from, to, select } = folder;
  const { mirror, owner = { uid: 0, gid: 0 } } = injection;
  const { signal, onProgress } = options;
  const call = signal ? { signal } : {};
  const expected = mirror && (await clear(files, folder, options));
  onProgress?.(`copying ${from} to ${to}`);
  const entries: TreeEntry[] = [];
  const onEntry = (entry: TreeEntry) => entries.push(entry);
  const tar = packPath(from, {
    as: '.',
    root: 'plain',
    hardLinks: 'separate',
    chunks: 'borrowed',
    select,
    onEntry,
    signal,
  });
  try {
    await files.tarIn(to, tar, { ...call, owner });
  } catch (error) {
    throw inTheWay(error, folder) ?? error;
  }
  if (expected) await clearVanished(files, folder, expected, entries, call);
  return treeOf(injection, folder, entries);
}

/** Makes the guest's directory ready for a mirror. Resolves with what was in the folder then. */
async function clear(
  files: GuestFiles,
  { from, to, select, keepsInGuest }: Folder,
  { signal, onProgress }: InjectOptions,
): Promise<ReadonlyMap<string, TreeKind>> {
  onProgress?.(`removing from ${to} what is not in ${from}`);
  const tree = new Map<string, TreeKind>();
  for await (const { path, kind } of listTree(from, { select, signal })) tree.set(path, kind);
  await clearForMirror(files, { to, tree, keeps: keepsInGuest }, signal ? { signal } : {});
  return tree;
}

/** Removes what the folder had when the guest was cleared for it, and has lost before it was sent. */
async function clearVanished(
  files: GuestFiles,
  { to, keepsInGuest }: Folder,
  expected: ReadonlyMap<string, TreeKind>,
  sent: readonly TreeEntry[],
  call: CallOptions,
): Promise<void> {
  const tree = new Map(sent.map(({ path, kind }) => [path, kind]));
  if ([...expected.keys()].every((path) => tree.has(path))) return;
  await clearForMirror(files, { to, tree, keeps: keepsInGuest }, call);
}

/** The error for a directory with something in it where no directory was to come. The guest's message has its name. */
function inTheWay(error: unknown, { from, to }: Folder): AlcoveError<'GuestFile'> | undefined {
  if (!isAlcoveError(error, 'GuestFile') || error.details?.errno !== 'ENOTEMPTY') return undefined;
  const message = `a directory in the guest has something in it and is no directory in ${from}: ${error.message}`;
  return new AlcoveError('GuestFile', message, {
    cause: error,
    remedy: 'Remove it in the guest first, or inject with `mirror`.',
    details: { path: to, errno: 'ENOTEMPTY' },
  });
}

function treeOf({ mirror }: Injection, folder: Folder, entries: readonly TreeEntry[]): InjectedTree {
  const tree = { to: folder.to, digest: treeDigest(entries), entries };
  return mirror ? { ...tree, rules: folder.rules() } : tree;
}
