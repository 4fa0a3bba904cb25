import { isAlcoveError } from '../../errors.ts';
import { blockSize, readTarNumber } from '../../images/index.ts';
import { invalidBackup } from './backup-error.ts';

/** What kinds of headers there are for us; the letters are those of ustar (POSIX pax(1)) and GNU tar. */
export type HeaderKind =
  | 'file'
  | 'gnu sparse file'
  | 'directory'
  | 'symlink'
  | 'hard link'
  | 'fifo'
  | 'device'
  | 'pax'
  | 'global pax'
  | 'long name'
  | 'long target';

const kinds: Readonly<Record<string, HeaderKind>> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  S: 'gnu sparse file',
  '5': 'directory',
  '2': 'symlink',
  '1': 'hard link',
  '6': 'fifo',
  '3': 'device',
  '4': 'device',
  x: 'pax',
  g: 'global pax',
  L: 'long name',
  K: 'long target',
};

export interface TarHeader {
  kind: HeaderKind;
  /** Bytes in a string, as all names here. */
  name: string;
  target: string;
  /** As the header itself says; pax may say otherwise. */
  sizeBytes: number;
}

/** Reads a header block that is not all zeros. @throws AlcoveError `BackupInvalid` */
export function readHeader(block: Buffer): TarHeader {
  const name = nameIn(block);
  const field = (what: string, from: number, to: number) => number(block, what, from, to, name);
  if (!sums(block).includes(field('checksum', 148, 156)))
    throw invalidBackup('damaged', 'a header of the tar has another checksum than it says');
  for (const [what, from, to] of [
    ['mode', 100, 108],
    ['owner', 108, 116],
    ['group', 116, 124],
  ] as const) {
    if (field(what, from, to) < 0)
      throw invalidBackup('damaged', `the tar has a negative ${what}`, { entry: name });
  }
  field('time', 136, 148); // May be before 1970.
  const sizeBytes = field('size', 124, 136);
  if (sizeBytes < 0) throw invalidBackup('damaged', 'the tar has a negative size', { entry: name });
  const type = String.fromCharCode(block[156] ?? 0);
  const kind = kinds[type];
  if (kind === undefined)
    throw invalidBackup('refused', `the tar has an entry of unknown type ${JSON.stringify(type)}`, {
      entry: name,
    });
  return { kind, name, target: text(block.subarray(157, 257)), sizeBytes };
}

/** A number of a header. @throws AlcoveError `BackupInvalid` */
export function number(block: Buffer, what: string, from: number, to: number, entry?: string): number {
  try {
    return readTarNumber(block.subarray(from, to), what);
  } catch (error) {
    if (!isAlcoveError(error, 'ImageInvalid')) throw error;
    throw invalidBackup('damaged', `the tar has a ${what} that is no number`, { entry, cause: error });
  }
}

/** Up to the first NUL. */
export function text(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('latin1', 0, end < 0 ? field.length : end);
}

function nameIn(block: Buffer): string {
  const name = text(block.subarray(0, 100));
  // GNU's magic is `ustar  `; it has other things where POSIX has the prefix.
  if (block.toString('latin1', 257, 263) !== 'ustar\0') return name;
  const prefix = text(block.subarray(345, 500));
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Bytes as unsigned numbers (POSIX), and as signed ones (old systems); the field itself counts as spaces. */
function sums(block: Buffer): [unsigned: number, signed: number] {
  let unsigned = 8 * 0x20;
  let high = 0;
  for (let at = 0; at < blockSize; at++) {
    if (at === 148) at = 156;
    const byte = block[at] as number;
    unsigned += byte;
    high += byte >> 7;
  }
  return [unsigned, unsigned - 256 * high];
}
