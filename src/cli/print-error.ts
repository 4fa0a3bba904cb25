import { inspect } from 'node:util';
import { CommanderError } from 'commander';
import { AlcoveError, type ErrorCode, isAlcoveError } from '../errors.ts';
import { exitCode } from './exit-code.ts';
import type { GlobalOptions } from './global-options.ts';
import type { CliIo } from './io.ts';
import { printable } from './printable.ts';
import type { Style } from './style.ts';

/** Every error as one of the table: what was not thrown on purpose is `Internal`, what commander refuses `InvalidInput`. */
export function toAlcoveError(error: unknown): AlcoveError {
  if (isAlcoveError(error)) return error;
  if (error instanceof CommanderError) return usageError(error);
  const message = error instanceof Error ? error.message : String(error);
  return new AlcoveError('Internal', message || 'something went wrong and said nothing', { cause: error });
}

/** The one place that writes errors. */
export function printError(
  error: AlcoveError,
  { io, globals, style }: { io: CliIo; globals: Pick<GlobalOptions, 'format'>; style: Style },
): void {
  if (globals.format === 'json') {
    io.stderr.write(`${JSON.stringify({ error: plainError(error) })}\n`);
  } else {
    io.stderr.write(`${style.bad('alcove:')} ${printable(error.message)}\n`);
    if (error.remedy) io.stderr.write(`${printable(error.remedy).replace(/^/gm, '  ')}\n`);
  }
  if (io.env.ALCOVE_DEBUG === '1') io.stderr.write(`${inspect(error)}\n`);
}

/** What the CLI exits with when this error ends a command. */
export function exitCodeOf(error: AlcoveError): number {
  const { details } = error;
  const errno = details !== undefined && 'errno' in details ? details.errno : undefined;
  if (error.code === 'CommandNotStarted' && errno === 'EACCES') return exitCode.notExecutable;
  return error.exitCode;
}

/** The error's JSON shape; output that was streamed already is not repeated in it. */
export function plainError(error: AlcoveError): {
  code: ErrorCode;
  message: string;
  remedy: string;
  details: unknown;
} {
  const { code, message, remedy } = error;
  const details = Object.entries(error.details ?? {}).filter(([, value]) => !(value instanceof Uint8Array));
  return { code, message, remedy, details: Object.fromEntries(details) };
}

function usageError(error: CommanderError): AlcoveError<'InvalidInput'> {
  const [, what = error.message, suggestion] =
    /^(?:error: )?(.*?)(?:\s*\((Did you mean .*)\))?$/s.exec(error.message) ?? [];
  const field = /'([^']+)'/.exec(what)?.[1] ?? 'command line';
  const remedy = suggestion ? suggestion.replace(/\s+/g, ' ') : 'See the command with --help.';
  return new AlcoveError('InvalidInput', what, { details: { field }, remedy });
}
