import { AlcoveError } from '../errors.ts';

/** The error of a flag or argument whose value cannot be used. */
export function invalidFlag(flag: string, what: string, remedy?: string): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', `${flag}: ${what}`, {
    details: { field: flag },
    remedy: remedy ?? 'See the command with --help.',
  });
}
