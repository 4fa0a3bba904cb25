import { AlcoveError } from '../errors.ts';

/** The error of a request that cannot be sent as it is. */
export function invalid(field: string, problem: string): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', `${field} ${problem}`, { details: { field } });
}

/** The error of a guest that sent what it must not. */
export function breach(what: string): AlcoveError<'GuestProtocol'> {
  return new AlcoveError('GuestProtocol', `the guest sent ${what}`);
}

/** The error of a guest that cannot be talked to (any more). */
export function unreachable(what: string, cause?: unknown): AlcoveError<'GuestUnreachable'> {
  return new AlcoveError('GuestUnreachable', what, { cause });
}
