import { AlcoveError } from '../../errors.ts';

/** The error for a tar that is malformed or cut. */
export function invalidTar(what: string, cause?: unknown): AlcoveError<'ImageInvalid'> {
  return new AlcoveError('ImageInvalid', what, { cause });
}
