import type { SnapshotRef } from '../vm/index.ts';
import type { Action, ActionLimits, ActionResult, CachePolicy, Sink } from './action.ts';
import type { Explanation } from './explanation.ts';

export interface ExecuteOptions extends Sink {
  signal?: AbortSignal;
  /** Told what a slow call is doing, in words for people; a new step ends the one before. */
  onProgress?: (step: string) => void;
  /** Told of what is also in the result's `warnings`, when it happens. */
  onWarning?: (message: string) => void;
}

/** A result whose snapshot is not evicted or removed while it is held. */
export interface HeldResult extends Disposable {
  readonly result: ActionResult;
}

/** What a pipeline needs of the executor. */
export interface ActionRunner {
  /** As `execute`; the caller holds the snapshot until it disposes of what is returned. */
  executeHeld(action: Action, policy: CachePolicy, options: ExecuteOptions): Promise<HeldResult>;
  /**
   * Whether an action would be a hit, and what starts from its snapshot would start from; `becomes` is absent for one that is not cached.
   *
   * @param options.from what its source is, where that is not there yet: its `source` is not looked at then
   */
  explainStep(
    action: Action,
    policy: CachePolicy,
    options?: { signal?: AbortSignal; from?: SourceFacts },
  ): Promise<{ explanation: Explanation; becomes?: SourceFacts }>;
  /** Removes a snapshot that no entry refers to. @throws AlcoveError `SnapshotNotFound`, `SnapshotInUse` */
  removeSnapshot(snapshot: SnapshotRef): Promise<void>;
}

/** What an action's inputs take from its source. */
export interface SourceFacts {
  /** An image's digest; or the key of the action that made a snapshot, or the digest of one that a user took. */
  identity: { image: string } | { parent: string };
  /** What every command sees. */
  env: Readonly<Record<string, string>>;
  workdir?: string;
  user?: string;
  machine: Required<ActionLimits>;
}
