import type { Dirent, Stats } from 'node:fs';

/** What something in a tree is. */
export type TreeKind = 'file' | 'directory' | 'symlink' | 'fifo' | 'device';

/** Of anything but a socket. */
export function kindOf(entry: Stats | Dirent<Buffer>): TreeKind {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'directory';
  if (entry.isSymbolicLink()) return 'symlink';
  return entry.isFIFO() ? 'fifo' : 'device';
}
