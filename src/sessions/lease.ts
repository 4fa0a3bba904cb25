import type { ExecResult, GuestProcess } from '../guest/index.ts';
import type { CallOptions, RunOptions, Vm } from '../vm/index.ts';

/** `exclusive` nobody else has one meanwhile; `shared` any number at once. */
export type LeaseMode = 'exclusive' | 'shared';

export interface AcquireOptions extends CallOptions {
  /** @default 'exclusive' */
  mode?: LeaseMode;
  /**
   * How long to wait for the session's turn, and for a place in the pool, in ms.
   *
   * @default for its turn as long as it takes; for a place not at all
   */
  waitMs?: number;
  /** Told the place in the session's queue, from 1, at first and whenever it changes. */
  onQueued?: (place: number) => void;
}

/**
 * The right to use a session for a while. `await using` gives it back.
 *
 * @example
 * await using lease = await alcove.sessions.acquire('7c9e6679-7425-40de-944b-e07fc1f90ae7');
 * const { stdout } = await lease.exec('git status');
 */
export interface Lease extends AsyncDisposable {
  readonly sessionId: string;
  readonly mode: LeaseMode;
  /** Its machine: files, ports, snapshots, commands of any kind. It is not started or ended by this handle, and not used after the release. */
  readonly vm: Vm;
  readonly workdir: string;
  readonly shell: string;
  readonly shellArgs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /**
   * Runs `<shell> <shellArgs…> <command>` in the workdir to its end, with the static environment below `options.env`. An exit code other
   * than 0 is a result.
   *
   * @throws AlcoveError `LeaseReleased`, `CommandTimedOut`, `CommandNotStarted`, `Cancelled`, `VmFailed`, `GuestUnreachable`
   */
  exec(command: string, options?: SessionExecOptions): Promise<ExecResult>;
  /** As {@link exec}, and gives the command's streams. Without a command, the shell itself (without `shellArgs`), for a terminal. */
  spawn(command: string | undefined, options?: SessionSpawnOptions): Promise<GuestProcess>;
  /** Joins a detached command of the session again. @throws AlcoveError `CommandNotFound`, `LeaseReleased` */
  attach(commandId: string, options?: CallOptions): Promise<GuestProcess>;
  /** Ends the lease's commands that are under way, detached ones excepted, and gives it back. Once; more calls do nothing. */
  release(): Promise<void>;
}

export type SessionExecOptions = Omit<RunOptions, 'command'>;
export type SessionSpawnOptions = Omit<RunOptions, 'command' | 'maxOutputBytes' | 'onStdout' | 'onStderr'> &
  CallOptions;
