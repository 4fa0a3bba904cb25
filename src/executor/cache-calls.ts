import { AlcoveError } from '../errors.ts';
import type { SnapshotRef } from '../vm/index.ts';
import type {
  Cache,
  CacheCallOptions,
  CacheEntryDetails,
  CacheGcReport,
  CacheImportReport,
  CacheStats,
} from './cache.ts';
import { cacheLabel, type ExecutorContext } from './context.ts';
import { findEntry } from './find-entry.ts';
import { holdSnapshot } from './look-up.ts';
import { exportCache, importCache } from './portable/index.ts';
import type { CacheEntry } from './registry/index.ts';
import { releaseSnapshots } from './release-snapshots.ts';
import { decodeRetained, textOf } from './run/transcript.ts';

/** {@link Cache} over a registry and the snapshots of a runtime. */
export class CacheCalls implements Cache {
  readonly #context: ExecutorContext;
  #hits = 0;
  #misses = 0;
  #savedMs = 0;

  constructor(context: ExecutorContext) {
    this.#context = context;
  }

  countHit(savedMs: number): void {
    this.#hits++;
    this.#savedMs += Math.max(0, savedMs);
  }

  countMiss(): void {
    this.#misses++;
  }

  async list(options: Parameters<Cache['list']>[0] = {}): Promise<CacheEntry[]> {
    return this.#context.registry.list(options);
  }

  async inspect(key: string): Promise<CacheEntryDetails> {
    const { registry } = this.#context;
    const entry = findEntry(registry, key);
    const inputs = registry.inputs(entry.key);
    const encoded = registry.output(entry.key);
    const output = encoded && decodeRetained(encoded);
    const history = registry.history(entry.key);
    return {
      ...entry,
      ...(inputs && { inputs }),
      stdout: output ? textOf(output, 'stdout') : '',
      stderr: output ? textOf(output, 'stderr') : '',
      truncated: output ? output.dropped.stdout + output.dropped.stderr > 0 : false,
      pinnedBy: this.#context.runtime.snapshots.usersOf(entry.snapshot),
      ...(history && { history }),
    };
  }

  async remove(keys: readonly string[]): Promise<void> {
    const { registry, clock } = this.#context;
    const entries = keys.map((key) => findEntry(registry, key));
    const gone = entries.flatMap(
      ({ key, snapshot }) =>
        registry.invalidate(key, { reason: 'removed', nowMs: clock.now(), snapshot }) ?? [],
    );
    await releaseSnapshots(this.#context, gone);
  }

  async gc(options: { unusedForMs?: number; dryRun?: true } = {}): Promise<CacheGcReport> {
    const { registry, clock, runtime, ephemeral } = this.#context;
    const evicted = registry.evict({ nowMs: clock.now(), ...options });
    const strays = runtime.snapshots
      .labelled(cacheLabel)
      .filter(
        ({ ref }) =>
          !registry.bySnapshot(ref) && !ephemeral.has(ref) && runtime.snapshots.usersOf(ref).length === 0,
      );
    const removed: CacheGcReport['removed'] = evicted.map(({ key, snapshot, sizeBytes }) => ({
      key,
      snapshot,
      sizeBytes,
      why: 'least recently used',
    }));
    for (const { ref } of strays) {
      if (evicted.some(({ snapshot }) => snapshot === ref)) continue;
      const info = await runtime.snapshots.get(ref);
      if (info)
        removed.push({ snapshot: ref, sizeBytes: info.ownBytes, why: 'of an action that is not cached' });
    }
    if (!options.dryRun)
      await releaseSnapshots(
        this.#context,
        removed.map(({ snapshot }) => snapshot),
      );
    return { removed, freedBytes: removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) };
  }

  async stats(): Promise<CacheStats> {
    const { registry } = this.#context;
    const { entries, bytes } = registry.totals();
    return {
      entries,
      bytes,
      limits: registry.limits,
      hits: this.#hits,
      misses: this.#misses,
      savedMs: this.#savedMs,
    };
  }

  hold(snapshot: SnapshotRef): Disposable {
    const hold = holdSnapshot(this.#context, snapshot);
    if (hold) return hold;
    throw new AlcoveError('SnapshotNotFound', `there is no snapshot ${snapshot}`, {
      details: { ref: snapshot },
    });
  }

  export(options: CacheCallOptions & { keys?: readonly string[] } = {}): AsyncIterable<Uint8Array> {
    return exportCache(this.#context, options);
  }

  async import(
    archive: AsyncIterable<Uint8Array>,
    options: CacheCallOptions = {},
  ): Promise<CacheImportReport> {
    return importCache(this.#context, archive, options);
  }
}
