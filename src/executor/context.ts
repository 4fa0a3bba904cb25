import type { Clock } from '../host/index.ts';
import type { ImageStore } from '../images/index.ts';
import type { Random, VmRuntime } from '../vm/index.ts';
import type { Background } from './background.ts';
import type { EphemeralSnapshots } from './ephemeral-snapshots.ts';
import type { ExecuteFailpointName } from './failpoints.ts';
import type { Registry } from './registry/index.ts';

/** What the parts of one executor share. */
export interface ExecutorContext {
  readonly runtime: VmRuntime;
  readonly images: ImageStore;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly random: Random;
  /** Of new machines: the backend's name, and what its guests run on. */
  readonly platform: { backend: string; architecture: string };
  readonly ephemeral: EphemeralSnapshots;
  /** What callers do not wait for. */
  readonly background: Background;
  /** Told what could not be reported to a caller, in words for people. */
  readonly warn: (message: string) => void;
  readonly at: (name: ExecuteFailpointName) => Promise<void>;
}

/** On snapshots that actions made: the key, or {@link ephemeralLabel}. */
export const cacheLabel = 'alcove.cache';
export const ephemeralLabel = 'ephemeral';
