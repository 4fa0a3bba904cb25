/** Size of a tar's header and of what content is padded to (pax(1), "ustar interchange format"). */
export const blockSize = 512;

/** Where the data of a file with holes lies; all else of it is zeros. */
export type SparseMap = readonly { readonly offset: number; readonly size: number }[];

/** What all kinds of entries have. */
export interface TarAttributes {
  /** Permission bits, with setuid, setgid and sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** Whole seconds since the epoch. */
  mtimeS: number;
  /** Full names (`user.note`, `security.capability`); values are any bytes. */
  xattrs: ReadonlyMap<string, Buffer>;
}

export type TarKind =
  | { kind: 'file'; sizeBytes: number; sparse?: SparseMap }
  | { kind: 'directory' }
  | { kind: 'fifo' }
  | { kind: 'symlink'; target: string }
  | { kind: 'hard-link'; target: string }
  | { kind: 'character-device' | 'block-device'; major: number; minor: number };

/**
 * One entry of a tar. Names and targets are *byte strings*: one character (U+0000–U+00FF) per byte, since names in an
 * image need not be UTF-8.
 */
export type TarEntry = { name: string; attributes: TarAttributes } & TarKind;

/** A byte string as people read it, for messages. */
export function displayName(bytes: string): string {
  return JSON.stringify(Buffer.from(bytes, 'latin1').toString('utf8'));
}
