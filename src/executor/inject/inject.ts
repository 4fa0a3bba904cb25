import type { GuestFiles } from '../../guest/index.ts';
import type { Injection } from '../action.ts';
import type { InjectedTree } from '../keys/inputs.ts';

export interface InjectOptions {
  signal?: AbortSignal;
  /** Told what a slow call is doing, in words for people. */
  onProgress?: (step: string) => void;
}

/**
 * What {@link inject} would copy now, without copying it.
 *
 * @throws AlcoveError `InvalidInput`, `HostFile`, `Cancelled`
 */
export async function injectedTree(
  _injection: Injection,
  _options: { signal?: AbortSignal } = {},
): Promise<InjectedTree> {
  throw new Error('to come');
}

/**
 * Copies a host folder into a guest, and says what was copied: of the very bytes that were sent, which are others than
 * {@link injectedTree} saw when a file has changed since.
 *
 * @throws AlcoveError `InvalidInput`, `HostFile`, `GuestFile`, `Cancelled`, `GuestUnreachable`
 */
export async function inject(
  _files: GuestFiles,
  _injection: Injection,
  _options: InjectOptions = {},
): Promise<InjectedTree> {
  throw new Error('to come');
}
