import { AlcoveError } from '../../errors.ts';
import { displayName } from '../tar/tar-entry.ts';

/** Linux refuses longer names and paths (limits.h: NAME_MAX, PATH_MAX less the final NUL). */
const maxNameBytes = 255;
const maxPathBytes = 4095;

/**
 * The components of a name in an archive, from the root of the image; none for the root itself. Leading `/` and `./` mean
 * the same as nothing, as tar takes them.
 *
 * @throws AlcoveError `ImageInvalid` for a name with `..`, or one that no file can have
 */
export function entryPath(name: string): string[] {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (name === '') throw refused(name, 'is empty');
  if (parts.includes('..')) throw refused(name, 'would leave its place');
  if (name.includes('\0')) throw refused(name, 'holds a NUL byte');
  if (name.length > maxPathBytes || parts.some((part) => part.length > maxNameBytes)) {
    throw refused(name, 'is longer than any path can be');
  }
  return parts;
}

function refused(name: string, why: string): AlcoveError<'ImageInvalid'> {
  return new AlcoveError('ImageInvalid', `the name ${displayName(name.slice(0, 256))} in the image ${why}`);
}
