import { AlcoveError } from '../errors.ts';
import type { GuestFiles } from '../guest/index.ts';
import type { CopyPair } from './parse-copy.ts';

/** Copies a file or folder of this host into a guest. */
export async function copyToGuest(_files: GuestFiles, _pair: CopyPair, _signal: AbortSignal): Promise<void> {
  throw new AlcoveError('Unsupported', 'copying is not built yet', { details: { capability: 'copy' } });
}

/** Copies a file or folder of a guest to this host. */
export async function copyFromGuest(
  _files: GuestFiles,
  _pair: CopyPair,
  _signal: AbortSignal,
): Promise<void> {
  throw new AlcoveError('Unsupported', 'copying is not built yet', { details: { capability: 'copy' } });
}
