/** What counts of something in a tree: neither times nor owners, nor where the tree is. */
export interface TreeEntry {
  /** Relative to the top of the tree. */
  path: string;
  kind: 'file' | 'directory' | 'symlink' | 'fifo' | 'device';
  /** Permission bits with setuid, setgid and sticky. A symlink's are always 0o777. */
  mode: number;
  /** Of a file's bytes, as hex. */
  sha256?: string;
  sizeBytes?: number;
  /** Of a symlink; of a device its kind and numbers, e.g. `char 1:3`. */
  target?: string;
}
