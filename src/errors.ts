/**
 * Every error Alcove throws on purpose: one table of stable codes, one class.
 *
 * A code never changes its meaning. `status` is the HTTP status the daemon answers with; `exit` is what the
 * CLI exits with when the error ends a command; `remedy` is what to do when the thrower had nothing better.
 */
export const errorTable = {
  VmAlreadyExists: { status: 409, exit: 125, remedy: 'Choose another id, or destroy the VM that has it.' },
  VmNotFound: { status: 404, exit: 125, remedy: 'List what exists with `alcove vm ls`.' },
  VmFailed: {
    status: 502,
    exit: 125,
    remedy: 'Read its console with `alcove vm logs`, then start it again.',
  },
  InvalidTransition: {
    status: 409,
    exit: 125,
    remedy: 'Look at its status with `alcove vm inspect` and make the call that fits.',
  },
  VmInSession: {
    status: 409,
    exit: 125,
    remedy: 'Use `alcove session`, which starts and ends the machines of sessions.',
  },
  SnapshotAlreadyExists: { status: 409, exit: 125, remedy: 'Choose another snapshot id.' },
  SnapshotNotFound: { status: 404, exit: 125, remedy: 'List what exists with `alcove snapshot ls`.' },
  SnapshotInUse: { status: 409, exit: 125, remedy: 'Remove what depends on it first.' },
  SnapshotIncompatible: {
    status: 409,
    exit: 125,
    remedy: 'Restore it where the named fact is the same, or make a new snapshot.',
  },
  SnapshotCorrupt: {
    status: 500,
    exit: 125,
    remedy: 'Remove the snapshot; its bytes are not what was made.',
  },
  CacheEntryNotFound: { status: 404, exit: 125, remedy: 'List what is cached with `alcove cache ls`.' },
  ParentNotCached: {
    status: 400,
    exit: 2,
    remedy: 'Cache the step that it starts from, too, or do not cache it.',
  },
  PipelineInvalid: { status: 400, exit: 2, remedy: 'Correct the named step.' },
  SessionsDisabled: {
    status: 503,
    exit: 125,
    remedy: 'Set `enabled = true` in the section `[sessions]` of the configuration.',
  },
  SessionNotFound: { status: 404, exit: 125, remedy: 'List what exists with `alcove session ls`.' },
  SessionBusy: {
    status: 409,
    exit: 125,
    remedy: 'Wait until its leases are given back, or wait longer for a lease.',
  },
  SessionLost: {
    status: 500,
    exit: 125,
    remedy: 'Bring back a backup with `alcove session restore`, or remove it with `alcove session rm`.',
  },
  LeaseReleased: { status: 409, exit: 125, remedy: 'Acquire the session again.' },
  BootstrapFailed: {
    status: 422,
    exit: 125,
    remedy: 'Read its output and correct `bootstrap_command`; the next use starts from a clean machine.',
  },
  BackupNotFound: { status: 404, exit: 125, remedy: 'List what exists with `alcove backup ls`.' },
  BackupInUse: { status: 409, exit: 125, remedy: 'Remove the session with `alcove session rm --backups`.' },
  BackupFailed: {
    status: 507,
    exit: 125,
    remedy: 'Make the backup destination writable and make room; nothing of the session was lost.',
  },
  BackupInvalid: {
    status: 422,
    exit: 125,
    remedy: 'Take another backup; nothing was replaced by this one.',
  },
  SpareNotFound: { status: 404, exit: 125, remedy: 'List what waits with `alcove warm ls`.' },
  ArchiveInvalid: {
    status: 422,
    exit: 125,
    remedy: 'Get the file again, or export the snapshot again; nothing of it was kept.',
  },
  AtCapacity: { status: 429, exit: 125, remedy: 'Destroy VMs that are not needed, or raise the limit.' },
  Unsupported: { status: 501, exit: 125, remedy: 'Use a backend that has this capability.' },
  BackendUnavailable: { status: 503, exit: 125, remedy: 'Run `alcove doctor`.' },
  GuestUnreachable: { status: 502, exit: 125, remedy: 'Read its console with `alcove vm logs`.' },
  GuestProtocol: { status: 502, exit: 125, remedy: 'The guest broke the protocol; destroy the VM.' },
  GuestFile: { status: 400, exit: 125, remedy: 'Check the path inside the guest.' },
  GuestHookFailed: {
    status: 502,
    exit: 125,
    remedy: 'Read its output; correct or remove the hook in the guest.',
  },
  CommandNotStarted: { status: 400, exit: 127, remedy: 'Check the command, its directory and its user.' },
  CommandFailed: { status: 400, exit: 1, remedy: 'Read its output.' },
  CommandTimedOut: { status: 408, exit: 124, remedy: 'Give it more time with --timeout.' },
  CommandNotFound: {
    status: 404,
    exit: 125,
    remedy: 'List the commands that are kept; they go after a while.',
  },
  Cancelled: { status: 499, exit: 130, remedy: 'It was asked to stop; run it again.' },
  InvalidInput: { status: 400, exit: 2, remedy: 'Correct the named field.' },
  ImageNotFound: {
    status: 404,
    exit: 125,
    remedy: 'List images with `alcove image ls`, or get one with `alcove image pull` or `import`.',
  },
  ImageInvalid: { status: 422, exit: 125, remedy: 'Get the image again; nothing of it was kept.' },
  ImageInUse: { status: 409, exit: 125, remedy: 'Destroy the VMs and snapshots that use it first.' },
  KernelNotFound: { status: 503, exit: 125, remedy: 'Run `alcove doctor`.' },
  StateLocked: {
    status: 503,
    exit: 125,
    remedy: 'Wait for the process that is named (`--lock-wait` waits longer), or end it.',
  },
  StateUnusable: {
    status: 507,
    exit: 125,
    remedy: 'Make the directory writable, make room, or choose another.',
  },
  StateCorrupt: { status: 500, exit: 125, remedy: 'Run `alcove doctor`.' },
  HostFile: { status: 400, exit: 125, remedy: 'Check the path on this host.' },
  ToolMissing: { status: 503, exit: 125, remedy: 'Run `alcove doctor`.' },
  ToolFailed: { status: 500, exit: 125, remedy: 'Read what the tool said.' },
  Internal: { status: 500, exit: 125, remedy: 'This is a defect of Alcove; please report it.' },
} as const satisfies Record<string, { status: number; exit: number; remedy: string }>;

export type ErrorCode = keyof typeof errorTable;

/** What some codes carry besides their message. A code not named here carries free-form facts. */
export interface ErrorDetails {
  InvalidTransition: { vmId: string; from: string; to: string };
  SnapshotIncompatible: { fact: string; expected: string; found: string };
  ArchiveInvalid: { problem: 'cut short' | 'damaged' | 'refused'; member?: string };
  AtCapacity: { limit: string; max: number; asked: number; taken: number };
  Unsupported: { capability: string };
  InvalidInput: { field: string };
  VmInSession: { vmId: string; sessionId: string; to: string };
  SessionBusy: { sessionId: string; leases: number; waiting: number };
  /** The exit code, or none when it did not end by itself; and the ends of its output. */
  BootstrapFailed: { sessionId: string; exitCode?: number; stdout: string; stderr: string };
  BackupInvalid: { problem: 'cut short' | 'damaged' | 'refused' | 'too large'; entry?: string };
  ParentNotCached: { step: string; parent: string };
  PipelineInvalid: { step?: string };
  CommandTimedOut: { timeoutMs: number; stdout?: Uint8Array; stderr?: Uint8Array };
  GuestFile: { path: string; errno: string };
  /** The program's path in the guest, and the end of what it printed. */
  GuestHookFailed: { hook: string; output: string };
}

type DetailsOf<C extends ErrorCode> = C extends keyof ErrorDetails
  ? ErrorDetails[C]
  : Record<string, unknown>;

export interface AlcoveErrorOptions<C extends ErrorCode> {
  /** What to do now, when there is something better to say than the table's. */
  remedy?: string;
  details?: DetailsOf<C>;
  cause?: unknown;
}

/**
 * An error with a stable {@link ErrorCode}. The message says what happened to which thing; the remedy says
 * what to do now.
 *
 * @example
 * try { await vms.start('web'); } catch (error) {
 *   if (isAlcoveError(error, 'InvalidTransition')) console.log(error.details?.from);
 * }
 */
export class AlcoveError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'AlcoveError';
  readonly code: C;
  readonly remedy: string;
  readonly details: DetailsOf<C> | undefined;

  constructor(code: C, message: string, options: AlcoveErrorOptions<C> = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy ?? errorTable[code].remedy;
    this.details = options.details;
  }

  /** HTTP status of this error. */
  get status(): number {
    return errorTable[this.code].status;
  }

  /** Exit code of a CLI command that this error ends. */
  get exitCode(): number {
    return errorTable[this.code].exit;
  }

  /** The one shape in which errors leave the process. */
  toJSON(): { code: C; message: string; remedy: string; details?: unknown } {
    const { code, message, remedy, details } = this;
    return details === undefined ? { code, message, remedy } : { code, message, remedy, details };
  }
}

/** Whether `error` is an {@link AlcoveError}, and of this code where one is given. */
export function isAlcoveError<C extends ErrorCode>(error: unknown, code?: C): error is AlcoveError<C> {
  return error instanceof AlcoveError && (code === undefined || error.code === code);
}

/** The error of a call whose `AbortSignal` fired; the signal's reason is kept as the cause. */
export function cancelled(what: string, signal?: AbortSignal): AlcoveError<'Cancelled'> {
  return new AlcoveError('Cancelled', `${what} was cancelled`, { cause: signal?.reason });
}
