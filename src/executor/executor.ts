import { AlcoveError, cancelled, isAlcoveError } from '../errors.ts';
import { SingleFlight } from '../host/index.ts';
import { parseSnapshotRef, type SnapshotRef } from '../vm/index.ts';
import type { Action, ActionResult, CachePolicy } from './action.ts';
import { CacheCalls } from './cache-calls.ts';
import { type ExecutorContext, ephemeralLabel } from './context.ts';
import type { ActionRunner, ExecuteOptions, HeldResult, SourceFacts } from './execute-options.ts';
import { explainPlan } from './explain.ts';
import type { Explanation } from './explanation.ts';
import { type Found, lookUp } from './look-up.ts';
import { type KeyedPlan, planFor } from './plan.ts';
import { releaseSnapshots } from './release-snapshots.ts';
import { resultOfHit, resultOfRun } from './results.ts';
import { checkAction } from './run/check-action.ts';
import { Outlet, replay, SinkFailed, unlessAborted } from './run/outlet.ts';
import { type RanAction, runAction } from './run/run-action.ts';
import { decodeRetained, type Retained } from './run/transcript.ts';
import { noteFailure, storeResult } from './store-result.ts';

/** A run that several callers may have waited for. */
interface Shared {
  ran: RanAction;
  /** Absent where it is not stored. */
  key: string | undefined;
}

/**
 * Runs actions in machines of their own, and none twice. What it makes and nobody keeps goes when it closes, or when the next one opens
 * on this state directory.
 */
export class Executor implements ActionRunner {
  readonly cache: CacheCalls;
  readonly #context: ExecutorContext;
  readonly #flights = new SingleFlight<Shared>();
  readonly #closing = new AbortController();
  readonly #underWay = new Set<Promise<unknown>>();

  /** Use `openExecutor`. */
  constructor(context: ExecutorContext) {
    this.#context = context;
    this.cache = new CacheCalls(context);
  }

  /** @throws AlcoveError `InvalidInput`, `ParentNotCached`, `CommandTimedOut`, `Cancelled`, and what making a machine and running throw */
  async execute(
    action: Action,
    policy: CachePolicy = 'none',
    options: ExecuteOptions = {},
  ): Promise<ActionResult> {
    using held = await this.executeHeld(action, policy, options);
    return held.result;
  }

  async executeHeld(action: Action, policy: CachePolicy, options: ExecuteOptions): Promise<HeldResult> {
    this.#closing.signal.throwIfAborted();
    const done = this.#execute(action, policy, options);
    this.#underWay.add(done);
    try {
      return await done;
    } catch (error) {
      throw error instanceof SinkFailed ? error.cause : error;
    } finally {
      this.#underWay.delete(done);
    }
  }

  async explain(
    action: Action,
    policy: CachePolicy,
    options: { signal?: AbortSignal } = {},
  ): Promise<Explanation> {
    return (await this.explainStep(action, policy, options)).explanation;
  }

  async explainStep(
    action: Action,
    policy: CachePolicy,
    options: { signal?: AbortSignal; from?: SourceFacts } = {},
  ): Promise<{ explanation: Explanation; becomes?: SourceFacts }> {
    this.#closing.signal.throwIfAborted();
    checkAction(action);
    return explainPlan(this.#context, action, await planFor(this.#context, action, policy, options), options);
  }

  async removeSnapshot(snapshot: SnapshotRef): Promise<void> {
    parseSnapshotRef(snapshot);
    const { registry, ephemeral, runtime } = this.#context;
    const entry = registry.bySnapshot(snapshot);
    if (entry) {
      throw new AlcoveError('SnapshotInUse', `snapshot ${snapshot} is cached as ${entry.key}`, {
        remedy: `Remove it from the cache: alcove cache rm ${entry.key}`,
        details: { ref: snapshot, key: entry.key },
      });
    }
    // Let go of, not removed: a machine that started from it may still be on its way out, in the background.
    if (ephemeral.drop(snapshot)) await runtime.snapshots.release(snapshot);
  }

  /** Resolves when nothing is under way that callers do not wait for: destroying machines, removing what was evicted. */
  async settled(): Promise<void> {
    await this.#context.background.idle();
  }

  /** Ends every execute under way, and removes what nobody keeps. */
  async close(): Promise<void> {
    this.#closing.abort(new AlcoveError('Cancelled', 'the engine was closed', { remedy: 'Open it again.' }));
    await Promise.allSettled(this.#underWay);
    await releaseSnapshots(this.#context, this.#context.ephemeral.all());
    await this.#context.background.idle();
  }

  async #execute(action: Action, policy: CachePolicy, options: ExecuteOptions): Promise<HeldResult> {
    const beganMs = this.#context.clock.monotonic();
    checkAction(action);
    if (options.signal?.aborted) throw cancelled('the action', options.signal);
    const plan = await planFor(this.#context, action, policy, options);
    const warnings: string[] = [];
    const warn = (message: string) => {
      warnings.push(message);
      options.onWarning?.(message);
    };
    const call: Call = { action, options, beganMs, warnings, warn };
    if (plan === 'not cached') {
      const shared = await this.#run(call, undefined, options.signal);
      return this.#take(shared, call, { joined: false });
    }
    for (;;) {
      const found = plan.mode === 'refresh' ? undefined : await lookUp(this.#context, plan, warn);
      if (found) return this.#hit(found, call);
      const held = await this.#runOrJoin(call, plan);
      if (held) return held;
    }
  }

  /** One run for all who want a key. `undefined` for a caller to whom its result was lost: it has to look again. */
  async #runOrJoin(call: Call, plan: KeyedPlan): Promise<HeldResult | undefined> {
    const { signal } = call.options;
    let leads = false;
    let shared: Shared;
    try {
      shared = await this.#flights.run(this.#flightOf(plan), { ...(signal && { signal }) }, (flight) => {
        leads = true;
        this.cache.countMiss();
        return this.#run(call, plan, flight.signal);
      });
    } catch (error) {
      if (leads || signal?.aborted || !isLost(error)) throw error;
      return undefined;
    }
    let held: HeldResult;
    try {
      held = this.#take(shared, call, { joined: !leads });
    } catch (error) {
      // Evicted or removed the moment it was made.
      if (isAlcoveError(error, 'SnapshotNotFound')) return undefined;
      throw error;
    }
    if (leads) return held;
    try {
      await replay(() => shared.ran.output, call.options);
      return held;
    } catch (error) {
      held[Symbol.dispose]();
      throw error;
    }
  }

  /** One that stores nothing is not the same as one that does, which it may wait for. */
  #flightOf({ key, mode }: KeyedPlan): string {
    const storing = `store ${key}`;
    return mode === 'readOnly' && !this.#flights.has(storing) ? `run ${key}` : storing;
  }

  async #run(
    { action, options, beganMs, warn }: Call,
    plan: KeyedPlan | undefined,
    ending: AbortSignal | undefined,
  ): Promise<Shared> {
    const { clock, ephemeral } = this.#context;
    const { signal: closing } = this.#closing;
    let stored = plan?.mode === 'readOnly' ? undefined : plan;
    const running = runAction(this.#context, action, {
      signal: ending ? AbortSignal.any([ending, closing]) : closing,
      onProgress: (step) => options.onProgress?.(step),
      outlet: new Outlet(unlessAborted(options, options.signal), { replayed: false }),
      labelFor: (trees) => {
        // A file that has changed since the look-up was injected as it is now: the result is that of another key.
        if (stored?.rekey) stored = { ...stored, ...stored.rekey(trees) };
        return stored ? stored.key : ephemeralLabel;
      },
    });
    const ran = await running.catch((error) => {
      if (stored && isAlcoveError(error, 'CommandTimedOut'))
        noteFailure(this.#context, stored.key, 'timed out');
      throw error;
    });
    // Everybody who waits takes a hold of their own as soon as this resolves.
    using _made = ran.made?.hold;
    const durationMs = clock.monotonic() - beganMs;
    const key = stored && (await storeResult(this.#context, action, stored, ran, { durationMs, warn }));
    if (ran.made && key === undefined) ephemeral.add(ran.made.snapshot);
    return { ran, key };
  }

  /** A caller's own hold on what a run made. @throws AlcoveError `SnapshotNotFound` when it was removed already */
  #take({ ran, key }: Shared, { beganMs, warnings }: Call, { joined }: { joined: boolean }): HeldResult {
    const { made } = ran;
    const { clock, ephemeral } = this.#context;
    const hold = made && this.cache.hold(made.snapshot);
    if (made && joined && ephemeral.has(made.snapshot)) ephemeral.add(made.snapshot);
    return {
      result: resultOfRun(ran, { durationMs: clock.monotonic() - beganMs, warnings, key, joined }),
      [Symbol.dispose]: () => hold?.[Symbol.dispose](),
    };
  }

  async #hit({ entry, hold }: Found, { options, beganMs, warnings }: Call): Promise<HeldResult> {
    const { registry, clock } = this.#context;
    try {
      const encoded = registry.output(entry.key);
      const output = encoded ? decodeRetained(encoded) : nothing;
      await replay(() => output, options);
      const result = resultOfHit(entry, output, { durationMs: clock.monotonic() - beganMs, warnings });
      this.cache.countHit(result.savedMs ?? 0);
      return { result, [Symbol.dispose]: () => hold[Symbol.dispose]() };
    } catch (error) {
      hold[Symbol.dispose]();
      throw error;
    }
  }
}

/** One call of `execute`. */
interface Call {
  action: Action;
  options: ExecuteOptions;
  beganMs: number;
  warnings: string[];
  warn: (message: string) => void;
}

const nothing: Retained = { head: [], tail: [], dropped: { stdout: 0, stderr: 0 } };

/** Whether a run ended for a reason that says nothing about the action: its machine died, or its caller's callback failed. */
function isLost(error: unknown): boolean {
  return (
    error instanceof SinkFailed ||
    isAlcoveError(error, 'VmFailed') ||
    isAlcoveError(error, 'GuestUnreachable')
  );
}
