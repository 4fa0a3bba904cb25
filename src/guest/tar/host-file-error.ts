import { AlcoveError } from '../../errors.ts';

/** The name of a system error, e.g. `ENOENT`; `undefined` for errors of other kinds, whatever code they have. */
export function errnoOf(error: unknown): string | undefined {
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  return typeof code === 'string' && typeof syscall === 'string' ? code : undefined;
}

/** The error of a file on the host that cannot be read or written. */
export function hostFileError(path: string, cause: unknown): AlcoveError<'HostFile'> {
  const why = errnoOf(cause) ?? (cause instanceof Error ? cause.message : String(cause));
  return new AlcoveError('HostFile', `${path}: ${why}`, { cause, details: { path, errno: errnoOf(cause) } });
}
