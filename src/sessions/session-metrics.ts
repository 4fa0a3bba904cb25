/** Numbers of the pool of sessions; counts are since the engine opened. */
export interface SessionMetrics {
  places: { max: number; taken: number };
  /** Callers that wait: for their turn in a session, and for a place. */
  waiting: { turn: number; place: number };
  leases: number;
  /** Machines of sessions that run now. */
  active: number;
  counts: {
    acquires: number;
    /** Machines made for new sessions; and for sessions that came back from a backup. */
    made: number;
    restored: number;
    /** Starts that took a machine made ahead of need. */
    warmClaims: number;
    /** Stopped machines that were started again. */
    resumes: number;
    stops: number;
    evictions: number;
    prunes: number;
    backupsMade: number;
    backupsFailed: number;
    bootstrapsFailed: number;
    atCapacity: number;
  };
  latencies: Record<LatencyName, Latency>;
}

/** Of an acquire by what the session was; of the others, all of it. */
export type LatencyName =
  | 'acquireActive'
  | 'acquireStopped'
  | 'acquireNew'
  | 'acquireRestored'
  | 'stop'
  | 'backup'
  | 'restore';

/** A histogram as Prometheus has it: `buckets[i]` counts what took at most `boundsMs[i]`. */
export interface Latency {
  count: number;
  sumMs: number;
  boundsMs: readonly number[];
  buckets: readonly number[];
}
