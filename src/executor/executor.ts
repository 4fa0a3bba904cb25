import { AlcoveError, cancelled, isAlcoveError } from '../errors.ts';
import { SingleFlight } from '../host/index.ts';
import { parseSnapshotRef, type SnapshotRef } from '../vm/index.ts';
import type { Action, ActionResult, CachePolicy, Sink } from './action.ts';
import { CacheCalls } from './cache-calls.ts';
import { type ExecutorContext, ephemeralLabel } from './context.ts';
import type { ActionRunner, ExecuteOptions, HeldResult, SourceFacts } from './execute-options.ts';
import { explainPlan } from './explain.ts';
import type { Explanation } from './explanation.ts';
import { storedInputs } from './keys/index.ts';
import { type Found, lookUp } from './look-up.ts';
import { type KeyedPlan, planFor } from './plan.ts';
import { releaseSnapshots } from './release-snapshots.ts';
import { checkAction } from './run/check-action.ts';
import { Outlet, replay, SinkFailed } from './run/outlet.ts';
import { type RanAction, runAction } from './run/run-action.ts';
import { decodeRetained, encodeRetained, type Retained, textOf } from './run/transcript.ts';

/** A run that several callers may have waited for. */
interface Shared {
  ran: RanAction;
  /** Absent where it is not stored. */
  key?: string;
  warnings: readonly string[];
  /** Whether one caller alone waited: that one lets go of what was made, once it holds it. */
  isAlone: boolean;
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
    if (ephemeral.drop(snapshot)) await runtime.snapshots.remove(snapshot);
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
    const { clock } = this.#context;
    const beganMs = clock.monotonic();
    checkAction(action);
    if (options.signal?.aborted) throw cancelled('the action', options.signal);
    const plan = await planFor(this.#context, action, policy, options);
    const warnings: string[] = [];
    const warn = (message: string) => {
      warnings.push(message);
      options.onWarning?.(message);
    };
    if (plan === 'not cached') {
      const alone = { signal: options.signal, waiting: 1 };
      const shared = await this.#run(action, undefined, options, alone);
      return this.#finish(shared, { beganMs, joined: false, warnings });
    }
    for (;;) {
      if (plan.mode !== 'refresh') {
        const found = await lookUp(this.#context, plan, warn);
        if (found) return this.#hit(found, options, { beganMs, warnings });
      }
      const led = { run: false };
      try {
        const { signal } = options;
        const shared = await this.#flights.run(
          this.#flightOf(plan),
          { ...(signal && { signal }) },
          (flight) => {
            led.run = true;
            this.cache.countMiss();
            return this.#run(action, plan, options, flight);
          },
        );
        if (led.run) return this.#finish(shared, { beganMs, joined: false, warnings });
        const held = this.#finish(shared, { beganMs, joined: true, warnings });
        await replay(() => shared.ran.output, options).catch((error) => {
          held[Symbol.dispose]();
          throw error;
        });
        return held;
      } catch (error) {
        // The one who ran it has lost it; another of those who wait takes over.
        if (led.run || options.signal?.aborted || !isLost(error)) throw error;
      }
    }
  }

  /** One that stores nothing is not the same as one that does, which it may wait for. */
  #flightOf({ key, mode }: KeyedPlan): string {
    const storing = `store ${key}`;
    return mode === 'readOnly' && !this.#flights.has(storing) ? `run ${key}` : storing;
  }

  /** A signal that fires for a caller's reason, or when the executor closes. */
  #ending(signal: AbortSignal | undefined): AbortSignal {
    return signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
  }

  async #run(
    action: Action,
    plan: KeyedPlan | undefined,
    options: ExecuteOptions,
    flight: { signal: AbortSignal | undefined; readonly waiting: number },
  ): Promise<Shared> {
    const { registry, clock, ephemeral } = this.#context;
    const beganMs = clock.monotonic();
    const stores = plan !== undefined && plan.mode !== 'readOnly';
    let stored = plan;
    const ran = await runAction(this.#context, action, {
      signal: this.#ending(flight.signal),
      onProgress: (step) => options.onProgress?.(step),
      outlet: new Outlet(whileWanted(options), { replayed: false }),
      labelFor: (trees) => {
        // A file that has changed since the look-up was injected as it is now: the result is that of another key.
        if (plan?.rekey) stored = { ...plan, ...plan.rekey(trees) };
        return stores && stored ? stored.key : ephemeralLabel;
      },
    });
    const warnings: string[] = [];
    const warn = (message: string) => {
      warnings.push(message);
      options.onWarning?.(message);
    };
    const { made } = ran;
    if (!stores || !stored) {
      if (made) ephemeral.add(made.snapshot);
      return this.#shared({ ran, warnings }, flight.waiting);
    }
    const { key } = stored;
    const nowMs = clock.now();
    try {
      if (!made) {
        registry.recordFailure(key, { nowMs, detail: `exit code ${ran.exit.exitCode}` });
        return this.#shared({ ran, key, warnings }, flight.waiting);
      }
      const gone = registry.put(
        {
          key,
          snapshot: made.snapshot,
          ...('snapshot' in action.source && { parent: action.source.snapshot }),
          ...(action.name !== undefined && { name: action.name }),
          sizeBytes: made.sizeBytes,
          durationMs: clock.monotonic() - beganMs,
          ...(stored.inputs && { inputs: storedInputs(stored.inputs, key) }),
          output: encodeRetained(ran.output),
        },
        { nowMs },
      );
      await this.#context.at('execute.stored');
      this.#context.background.run('remove what was evicted', async () => {
        await releaseSnapshots(this.#context, gone);
        await this.#context.at('execute.released');
      });
      return this.#shared({ ran, key, warnings }, flight.waiting);
    } catch (error) {
      warn(`the result could not be stored: ${(error as Error).message}`);
      if (made) ephemeral.add(made.snapshot);
      return this.#shared({ ran, warnings }, flight.waiting);
    }
  }

  /** Everybody who waited takes a hold of their own as soon as this resolves, before anything else gets its turn. */
  #shared(shared: Omit<Shared, 'isAlone'>, waiting: number): Shared {
    const { made } = shared.ran;
    const isAlone = waiting <= 1;
    if (made && !isAlone) setImmediate(() => made.hold[Symbol.dispose]());
    return { ...shared, isAlone };
  }

  #finish(
    { ran, key, warnings, isAlone }: Shared,
    call: { beganMs: number; joined: boolean; warnings: readonly string[] },
  ): HeldResult {
    const { exit, made, output, phases } = ran;
    const { clock, ephemeral } = this.#context;
    if (made && call.joined && ephemeral.has(made.snapshot)) ephemeral.add(made.snapshot);
    const hold = made && this.cache.hold(made.snapshot);
    if (isAlone) made?.hold[Symbol.dispose]();
    return {
      result: {
        exitCode: exit.exitCode,
        ...(exit.signal !== undefined && { signal: exit.signal }),
        ...(made && { snapshot: made.snapshot }),
        cached: false,
        joined: call.joined,
        ...(key !== undefined && { key }),
        durationMs: clock.monotonic() - call.beganMs,
        ...outputOf(output),
        ...(!call.joined && { phases }),
        warnings: [...call.warnings, ...warnings],
      },
      [Symbol.dispose]: () => hold?.[Symbol.dispose](),
    };
  }

  async #hit(
    { entry, hold }: Found,
    options: ExecuteOptions,
    call: { beganMs: number; warnings: string[] },
  ): Promise<HeldResult> {
    const { registry, clock } = this.#context;
    try {
      const encoded = registry.output(entry.key);
      const output = encoded ? decodeRetained(encoded) : nothing;
      await replay(() => output, options);
      const durationMs = clock.monotonic() - call.beganMs;
      this.cache.countHit(entry.durationMs - durationMs);
      return {
        result: {
          exitCode: 0,
          snapshot: entry.snapshot,
          cached: true,
          joined: false,
          key: entry.key,
          durationMs,
          savedMs: Math.max(0, entry.durationMs - durationMs),
          ...outputOf(output),
          warnings: call.warnings,
        },
        [Symbol.dispose]: () => hold[Symbol.dispose](),
      };
    } catch (error) {
      hold[Symbol.dispose]();
      throw error;
    }
  }
}

const nothing: Retained = { head: [], tail: [], dropped: { stdout: 0, stderr: 0 } };

function outputOf(output: Retained): Pick<ActionResult, 'stdout' | 'stderr' | 'truncated' | 'droppedBytes'> {
  const droppedBytes = output.dropped.stdout + output.dropped.stderr;
  return {
    stdout: textOf(output, 'stdout'),
    stderr: textOf(output, 'stderr'),
    truncated: droppedBytes > 0,
    droppedBytes,
  };
}

/** A caller who has given up hears no more, though the run goes on for others. */
function whileWanted(options: ExecuteOptions): Sink {
  const { signal } = options;
  const wanted = <A extends unknown[]>(callback: ((...args: A) => void | Promise<void>) | undefined) =>
    callback && ((...args: A) => (signal?.aborted ? undefined : callback.apply(options, args)));
  const onStdout = wanted(options.onStdout);
  const onStderr = wanted(options.onStderr);
  const onStdoutBytes = wanted(options.onStdoutBytes);
  const onStderrBytes = wanted(options.onStderrBytes);
  return {
    ...(onStdout && { onStdout }),
    ...(onStderr && { onStderr }),
    ...(onStdoutBytes && { onStdoutBytes }),
    ...(onStderrBytes && { onStderrBytes }),
  };
}

/**
 * Whether a run ended for a reason that says nothing about the action: its machine died, its caller's callback failed, or what it made was
 * removed before everybody had it.
 */
function isLost(error: unknown): boolean {
  if (error instanceof SinkFailed) return true;
  return (['VmFailed', 'GuestUnreachable', 'SnapshotNotFound'] as const).some((code) =>
    isAlcoveError(error, code),
  );
}
