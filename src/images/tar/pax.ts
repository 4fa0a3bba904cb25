import { invalidTar } from './tar-error.ts';

/** Records of a pax extended header; keys as text, values as the bytes they are. */
export type PaxRecords = ReadonlyMap<string, Buffer>;

/** Keys that the sparse format 0.0 of GNU tar repeats, once a part; they are joined with commas. Of others the last counts. */
const repeated = new Set(['GNU.sparse.offset', 'GNU.sparse.numbytes']);

const comma = Buffer.from(',');

/** Reads `<length> <key>=<value>\n` records, strictly: values may hold any byte, newlines too, so only lengths tell. */
export function readPax(data: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  /** Joined at the end: one by one, a header full of them would be copied once for each. */
  const lists = new Map<string, Buffer[]>();
  let rest = data;
  while (rest.length > 0 && rest[0] !== 0) {
    const space = rest.indexOf(0x20);
    const digits = rest.toString('latin1', 0, Math.max(space, 0));
    const length = /^\d{1,10}$/.test(digits) ? Number(digits) : 0;
    if (length <= space + 1 || length > rest.length || rest[length - 1] !== 0x0a) {
      throw invalidTar('malformed pax record in a tar');
    }
    const record = rest.subarray(space + 1, length - 1);
    const equals = record.indexOf(0x3d);
    if (equals < 1) throw invalidTar('malformed pax record in a tar');
    const key = record.toString('utf8', 0, equals);
    const value = Buffer.from(record.subarray(equals + 1));
    if (repeated.has(key)) {
      const list = lists.get(key);
      if (list) list.push(comma, value);
      else lists.set(key, [value]);
    } else {
      records.set(key, value);
    }
    rest = rest.subarray(length);
  }
  for (const [key, list] of lists) records.set(key, Buffer.concat(list));
  return records;
}

/** Writes what {@link readPax} reads. */
export function writePax(records: PaxRecords): Buffer {
  const parts: Buffer[] = [];
  for (const [key, value] of records) {
    const tail = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
    let length = tail.length + 1;
    while (String(length).length + tail.length !== length) length = String(length).length + tail.length;
    parts.push(Buffer.from(String(length)), tail);
  }
  return Buffer.concat(parts);
}

const schily = 'SCHILY.xattr.';
const libarchive = 'LIBARCHIVE.xattr.';

/** Extended attributes, as GNU tar, Go and Docker write them, or as bsdtar does (URL-encoded name, base64 value). */
export function xattrsOf(pax: PaxRecords): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const [key, value] of pax) {
    if (key.startsWith(libarchive)) {
      const name = unescapeName(key.slice(libarchive.length));
      if (!found.has(name)) found.set(name, Buffer.from(value.toString('latin1'), 'base64'));
    }
    if (key.startsWith(schily)) found.set(key.slice(schily.length), value);
  }
  return found;
}

function unescapeName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    throw invalidTar('malformed name of an extended attribute in a tar');
  }
}

/** The pax key under which an extended attribute is written. */
export function xattrKey(name: string): string {
  return `${schily}${name}`;
}
