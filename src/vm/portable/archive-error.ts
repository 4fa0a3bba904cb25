import { AlcoveError } from '../../errors.ts';

/**
 * Why an archive cannot be imported: it ends too early; its bytes are not those that were written; or it is no snapshot of ours,
 * or one that was made to do harm.
 */
export type ArchiveProblem = 'cut short' | 'damaged' | 'refused';

export function invalidArchive(
  problem: ArchiveProblem,
  message: string,
  details: { member?: string } = {},
  more: { cause?: unknown; remedy?: string } = {},
): AlcoveError<'ArchiveInvalid'> {
  return new AlcoveError('ArchiveInvalid', message, { ...more, details: { problem, ...details } });
}
