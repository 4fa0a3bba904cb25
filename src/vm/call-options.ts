import type { FlightOptions } from '../host/index.ts';
import type { BackendCallOptions } from './backend.ts';

/** The options of a call, for work that others may share with it. */
export function flightOptions({ signal, onProgress }: BackendCallOptions): FlightOptions {
  return {
    ...(signal && { signal }),
    ...(onProgress && { onProgress: ({ step }: { step: string }) => onProgress(step) }),
  };
}
