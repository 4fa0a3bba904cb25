import { AlcoveError, isAlcoveError } from '../errors.ts';

/** Programs say in words what a system call says by number. */
const words = /no space left on device|disk quota exceeded|read-only file system|enough free space/i;

/** `StateUnusable` where a program failed because it could not write below `path`; any other error as it is. */
export function fullDiskOr(error: unknown, path: string): unknown {
  if (!isAlcoveError(error, 'ToolFailed') || !words.test(error.message)) return error;
  return new AlcoveError('StateUnusable', `cannot write ${path}: ${error.message}`, { cause: error });
}
