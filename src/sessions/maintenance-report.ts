/** What one round of maintenance did, by session id. */
export interface MaintenanceReport {
  stopped: string[];
  backedUp: string[];
  pruned: string[];
  /** What could not be done; it is tried again. */
  failed: { sessionId: string; what: 'stop' | 'backup' | 'prune'; message: string }[];
}
