import type { Stats } from 'node:fs';
import { deviceMajor, deviceMinor } from './device-numbers.ts';
import type { Found } from './host-tree.ts';
import { kindOf, type TreeKind } from './tree-kind.ts';

/** What counts of something in a tree: neither times nor owners, nor where the tree is. */
export interface TreeEntry {
  /** Relative to the top of the tree; of a top that is no directory, its name. */
  path: string;
  kind: TreeKind;
  /** Permission bits with setuid, setgid and sticky. A symlink's are always 0o777. */
  mode: number;
  /** Of a file's bytes, as hex. */
  sha256?: string;
  sizeBytes?: number;
  /** Of a symlink; of a device its kind and numbers, e.g. `char 1:3`. */
  target?: string;
}

/** Size and digest of a file's bytes. */
export interface Content {
  sha256: string;
  sizeBytes: number;
}

/** @param content of a file */
export function treeEntry(path: string, found: Found, content?: Content): TreeEntry {
  const kind = kindOf(found.stats);
  const target =
    found.kind === 'symlink' ? found.target : kind === 'device' ? deviceName(found.stats) : undefined;
  return { path, kind, mode: found.stats.mode & 0o7777, ...content, ...(target !== undefined && { target }) };
}

function deviceName(stats: Stats): string {
  const kind = stats.isBlockDevice() ? 'block' : 'char';
  return `${kind} ${deviceMajor(stats.rdev)}:${deviceMinor(stats.rdev)}`;
}
