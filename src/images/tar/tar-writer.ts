import { writePax, xattrKey } from './pax.ts';
import { blockSize, type TarEntry } from './tar-entry.ts';
import { writeTarNumber } from './tar-number.ts';

/** Two empty blocks end a tar. */
export const endOfTar: Buffer = Buffer.alloc(2 * blockSize);

const types = {
  file: '0',
  'hard-link': '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
} as const satisfies Record<TarEntry['kind'], string>;

/**
 * The blocks that stand before an entry's content, with a pax header where ustar has no room. The content follows,
 * holes filled with zeros, and {@link paddingAfter} it.
 *
 * What it writes is what mksquashfs 4.5 reads right: it fails on files that end in a hole, of GNU tar too, and takes no
 * size from pax.
 */
export function writeTarHeader(entry: TarEntry): Buffer {
  const { attributes } = entry;
  const target = 'target' in entry ? entry.target : '';

  const pax = new Map<string, Buffer>();
  const spill = (key: string, value: string, fits: boolean) => {
    if (!fits) pax.set(key, Buffer.from(value, 'latin1'));
    return fits;
  };
  const name = spill('path', entry.name, entry.name.length <= 100) ? entry.name : '';
  const longLink = target.length > 100 ? longLinkBlocks(target) : [];
  const number = (key: string, value: number, digits: number) =>
    spill(key, String(value), value >= 0 && value < 8 ** digits) ? value : 0;
  const uid = number('uid', attributes.uid, 7);
  const gid = number('gid', attributes.gid, 7);
  const mtime = number('mtime', attributes.mtimeS, 11);
  for (const [key, value] of attributes.xattrs) pax.set(xattrKey(key), value);

  const device = 'major' in entry ? entry : { major: 0, minor: 0 };
  const own = block({
    name,
    mode: attributes.mode,
    uid,
    gid,
    size: entry.kind === 'file' ? entry.sizeBytes : 0,
    mtime,
    type: types[entry.kind],
    link: longLink.length > 0 ? '' : target,
    ...device,
  });
  return Buffer.concat([...longLink, ...paxBlocks(pax), own]);
}

/** Zeros that fill the last block of content. */
export function paddingAfter(bytes: number): Buffer {
  return Buffer.alloc((blockSize - (bytes % blockSize)) % blockSize);
}

/**
 * A long target goes in GNU's way, not in pax's: mksquashfs 4.5 takes `/` and `../` off the front of a pax `linkpath`, of
 * symlinks too, so that they would point elsewhere.
 */
function longLinkBlocks(target: string): Buffer[] {
  return extension('K', Buffer.from(`${target}\0`, 'latin1'));
}

function paxBlocks(pax: ReadonlyMap<string, Buffer>): Buffer[] {
  return pax.size === 0 ? [] : extension('x', writePax(pax));
}

/** An entry that says more of the next one. */
function extension(type: 'x' | 'K', data: Buffer): Buffer[] {
  const common = { mode: 0o644, uid: 0, gid: 0, mtime: 0, link: '', major: 0, minor: 0 };
  return [block({ ...common, name: 'extension', size: data.length, type }), data, paddingAfter(data.length)];
}

interface HeaderFields {
  name: string;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: number;
  type: string;
  link: string;
  major: number;
  minor: number;
}

function block(fields: HeaderFields): Buffer {
  const header = Buffer.alloc(blockSize);
  const put = (text: string, offset: number) => header.write(text, offset, 'latin1');
  put(fields.name, 0);
  put(writeTarNumber(fields.mode, 8), 100);
  put(writeTarNumber(fields.uid, 8), 108);
  put(writeTarNumber(fields.gid, 8), 116);
  put(writeTarNumber(fields.size, 12), 124);
  put(writeTarNumber(fields.mtime, 12), 136);
  put(' '.repeat(8), 148);
  put(fields.type, 156);
  put(fields.link, 157);
  put('ustar\x0000', 257);
  put(writeTarNumber(fields.major, 8), 329);
  put(writeTarNumber(fields.minor, 8), 337);
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(`${writeTarNumber(sum, 7)} `, 148);
  return header;
}
