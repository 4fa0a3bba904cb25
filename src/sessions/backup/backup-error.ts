import { AlcoveError } from '../../errors.ts';

/**
 * Why an archive is not used: it ends too early; its bytes are not those that were written, or no tar; there is something in it that
 * would do harm; it unpacks to more than there is room for.
 */
export type BackupProblem = 'cut short' | 'damaged' | 'refused' | 'too large';

/** @param more.entry the name of the entry in question, as bytes in a string (U+0000 to U+00FF) */
export function invalidBackup(
  problem: BackupProblem,
  message: string,
  more: { entry?: string | undefined; cause?: unknown } = {},
): AlcoveError<'BackupInvalid'> {
  const entry = more.entry === undefined ? undefined : shown(more.entry);
  const where = entry === undefined ? '' : ` at ${JSON.stringify(entry)}`;
  return new AlcoveError('BackupInvalid', `${message}${where}`, {
    cause: more.cause,
    details: { problem, ...(entry !== undefined && { entry }) },
  });
}

/** The error of a backup that could not be made, with what the file system said where it did. */
export function backupFailed(what: string, cause?: unknown): AlcoveError<'BackupFailed'> {
  const { code, syscall, message } = (cause ?? {}) as NodeJS.ErrnoException;
  return new AlcoveError(
    'BackupFailed',
    cause === undefined ? what : `${what}: ${message ?? String(cause)}`,
    {
      cause,
      ...(syscall !== undefined && { details: { errno: code } }),
    },
  );
}

export function backupNotFound(name: string, why = 'there is none'): AlcoveError<'BackupNotFound'> {
  return new AlcoveError('BackupNotFound', `backup ${JSON.stringify(name)}: ${why}`);
}

/** Names are bytes; whoever reads a message wants text, and not a mebibyte of it. */
function shown(name: string): string {
  return Buffer.from(name.slice(0, 200), 'latin1').toString('utf8');
}
