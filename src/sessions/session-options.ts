/** How a session's machine is stopped: `suspend` keeps memory and processes, `shutdown` only the disk. */
export type StopMode = 'suspend' | 'shutdown';

/** What the pool of sessions goes by. In the configuration the same, with the unit in the key: `idle_shutdown_seconds`. */
export interface SessionOptions {
  /** @default true */
  enabled: boolean;
  /** Reference or digest. @default the built-in image */
  image: string;
  /** Machines of sessions that exist or are being made, stopped ones included. @default 32 */
  maxVms: number;
  /** @default '/bin/sh' */
  shell: string;
  /** The command is one more argument. @default ['-lc'] */
  shellArgs: readonly string[];
  /** Of every command; nothing of the host's environment enters. @default {} */
  env: Readonly<Record<string, string>>;
  /** A machine that is idle for so long is stopped, in ms. @default 900 000 */
  idleShutdownMs: number;
  /** A machine that has been stopped for so long is removed, in ms. @default 3 600 000 */
  pruneAfterMs: number;
  /** A session that has been stopped for so long is backed up, in ms. @default only before its machine is removed */
  backupAfterMs?: number;
  /** Directory on the host. Where there is one, no machine is removed whose last state is not backed up there. @default none */
  backupDestination?: string;
  /** So many of each session's newest backups are kept. @default 3 */
  backupKeep: number;
  /** Program and arguments, run once in each new machine, in the workdir. @default none */
  bootstrapCommand?: readonly [string, ...string[]];
  /** @default 600 000 */
  bootstrapTimeoutMs: number;
  /** Commands run inside `nix develop <profile>`. @default none */
  nixProfile?: string;
  /** @default 'suspend' */
  stopMode: StopMode;
  /** @default 60 000 */
  maintenanceIntervalMs: number;
  /** Whether a machine that is idle, but not for long enough, is stopped when another session needs its place. @default 'no' */
  stopIdleForRoom: 'no' | 'yes';
  /** Of new machines. @default 1 */
  cpus: number;
  /** @default 256 */
  memoryMiB: number;
  /** Virtual size of the writable layer. @default 2048 */
  diskMiB: number;
  /** @default 'none' */
  network: 'none' | 'user';
}

/** Where a session's files are: what backups hold. */
export const workdir = '/work';
