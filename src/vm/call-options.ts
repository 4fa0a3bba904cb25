import type { FlightOptions } from '../host/index.ts';
import type { BackendCallOptions } from './backend.ts';

/** Of any call that takes its time. */
export interface CallOptions {
  signal?: AbortSignal;
  /** Told what a slow call is doing, in words for people; a new step ends the one before. */
  onProgress?: (step: string) => void;
}

/** The options of a call, for work that others may share with it. */
export function flightOptions({ signal, onProgress }: BackendCallOptions): FlightOptions {
  return {
    ...(signal && { signal }),
    ...(onProgress && { onProgress: ({ step }: { step: string }) => onProgress(step) }),
  };
}
