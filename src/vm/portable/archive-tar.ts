import { endOfTar, paddingAfter, writeTarHeader } from '../../images/index.ts';

/**
 * The header of a member: a plain file of nobody's, of no time. Since nothing but name and size differs, a reader knows what bytes to
 * expect, and takes no others: no links, no devices, no extensions.
 */
export function memberHeader(name: string, sizeBytes: number): Buffer {
  const attributes = { mode: 0o644, uid: 0, gid: 0, mtimeS: 0, xattrs: new Map<string, Buffer>() };
  return writeTarHeader({ kind: 'file', name, sizeBytes, attributes });
}

export { endOfTar, paddingAfter };

/** How much a checksum member holds: 64 hex digits and a line feed. */
export const checksumBytes = 65;

export const tarBlockBytes = 512;

/** What a tar header claims its entry to be, for messages. */
export function describeHeader(header: Buffer): string {
  const end = header.indexOf(0);
  const name = header.toString('utf8', 0, Math.min(end < 0 ? 100 : end, 100));
  if (!/^[\x20-\x7e]+$/.test(name)) return 'bytes of no tar';
  const type = String.fromCharCode(header[156] ?? 0);
  const kinds: Record<string, string> = {
    '1': 'hard link',
    '2': 'symbolic link',
    '3': 'device',
    '4': 'device',
    '5': 'folder',
    '6': 'pipe',
  };
  return `the ${kinds[type] ?? 'entry'} ${JSON.stringify(name)}`;
}
