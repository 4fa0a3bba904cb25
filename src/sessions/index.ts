/** Sessions: a machine per session id that is still there tomorrow. */
export type * from './backup/backup-info.ts';
export type * from './lease.ts';
export type * from './maintenance-report.ts';
export type * from './session.ts';
export type * from './session-metrics.ts';
export type * from './session-options.ts';
export type * from './sessions.ts';
