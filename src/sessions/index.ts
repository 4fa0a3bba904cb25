/** Sessions: a machine per session id that is still there tomorrow. */
export type * from './backup/backup-info.ts';
export { type SessionFailpoint, type SessionFailpointName, sessionFailpoints } from './failpoints.ts';
export type * from './lease.ts';
export type * from './maintenance-report.ts';
export { type OpenSessionsOptions, openSessions } from './open-sessions.ts';
export type * from './session.ts';
export type * from './session-metrics.ts';
export * from './session-options.ts';
export { SessionPool } from './session-pool.ts';
export type * from './sessions.ts';
