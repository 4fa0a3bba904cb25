import { breach, invalid } from './failures.ts';

/** The longest path Linux takes, with its NUL: `PATH_MAX`. */
const maxPathBytes = 4_096;

/** `path`, which must be absolute. @throws AlcoveError `InvalidInput` */
export function absolutePath(path: string, field = 'path'): string {
  if (!path.startsWith('/')) throw invalid(field, `must be absolute in the guest: ${JSON.stringify(path)}`);
  if (path.includes('\0')) throw invalid(field, 'holds a NUL character');
  if (Buffer.byteLength(path) >= maxPathBytes)
    throw invalid(field, `is longer than ${maxPathBytes - 1} bytes`);
  return path;
}

/** The path of a directory's entry, as the guest named it; only its last part is believed. @throws AlcoveError `GuestProtocol` */
export function entryPath(directory: string, claimed: string): string {
  const name = claimed.slice(claimed.lastIndexOf('/') + 1);
  if (name === '' || name === '.' || name === '..' || name.includes('\0')) {
    throw breach('a directory entry with a name that is none');
  }
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`;
}

/** A path below `directory`, as the guest named it. @throws AlcoveError `GuestProtocol` when it is not below */
export function pathBelow(directory: string, claimed: string): string {
  const prefix = directory.endsWith('/') ? directory : `${directory}/`;
  if (claimed !== directory && !claimed.startsWith(prefix))
    throw breach('a path outside what was asked about');
  if (claimed.includes('\0') || claimed.split('/').includes('..')) throw breach('a path with .. in it');
  return claimed;
}
