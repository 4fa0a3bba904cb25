import { AlcoveError } from '../../errors.ts';

/** A file error as a guest reports it. */
export function fileError(errno: string, path: string): AlcoveError<'GuestFile'> {
  return new AlcoveError('GuestFile', `${path}: ${errno}`, { details: { path, errno } });
}

export function unreachable(vmId: string, why: string): AlcoveError<'GuestUnreachable'> {
  return new AlcoveError('GuestUnreachable', `the guest of VM ${vmId} cannot be reached: ${why}`, {
    details: { vmId },
  });
}
