import type { Latency, LatencyName, SessionMetrics } from './session-metrics.ts';

/** From a command in a machine that runs to a backup of gigabytes, in ms. */
const boundsMs = [1, 5, 20, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 60_000, 600_000];

const names: readonly LatencyName[] = [
  'acquireActive',
  'acquireStopped',
  'acquireNew',
  'acquireRestored',
  'stop',
  'backup',
  'restore',
];

/** Counts and latencies of one pool. */
export class Metrics {
  readonly counts: SessionMetrics['counts'] = {
    acquires: 0,
    made: 0,
    restored: 0,
    warmClaims: 0,
    resumes: 0,
    stops: 0,
    evictions: 0,
    prunes: 0,
    backupsMade: 0,
    backupsFailed: 0,
    bootstrapsFailed: 0,
    atCapacity: 0,
  };
  readonly #latencies = new Map<LatencyName, { sumMs: number; buckets: number[]; count: number }>();

  took(name: LatencyName, ms: number): void {
    const latency = this.#latencies.get(name) ?? { sumMs: 0, count: 0, buckets: boundsMs.map(() => 0) };
    this.#latencies.set(name, latency);
    latency.count++;
    latency.sumMs += ms;
    for (const [index, bound] of boundsMs.entries()) {
      if (ms <= bound) latency.buckets[index] = (latency.buckets[index] ?? 0) + 1;
    }
  }

  latencies(): Record<LatencyName, Latency> {
    const of = (name: LatencyName): Latency => {
      const { count = 0, sumMs = 0, buckets = boundsMs.map(() => 0) } = this.#latencies.get(name) ?? {};
      return { count, sumMs, boundsMs, buckets: [...buckets] };
    };
    return Object.fromEntries(names.map((name) => [name, of(name)])) as Record<LatencyName, Latency>;
  }
}
