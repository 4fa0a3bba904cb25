import type { Vm } from '../../../src/engine/alcove.ts';
import { AlcoveError } from '../../../src/errors.ts';
import type { ExecRequest, ExecResult, GuestProcess } from '../../../src/guest/index.ts';
import type {
  AcquireOptions,
  BackupInfo,
  LatencyName,
  Lease,
  MaintenanceReport,
  SessionDetails,
  SessionInfo,
  SessionMetrics,
  Sessions,
} from '../../../src/sessions/index.ts';
import type { RunOptions } from '../../../src/vm/index.ts';

export interface FakeGuest {
  log(call: string, ...args: unknown[]): Promise<void>;
  exec(command: RunOptions): Promise<ExecResult>;
  spawn(request: ExecRequest, signal: AbortSignal): GuestProcess;
  vm(id: string): Vm;
}

export function sessionInfo(id: string, changes: Partial<SessionInfo> = {}): SessionInfo {
  return {
    id,
    status: 'active',
    vmId: `session-${id}`,
    createdAtMs: 400_000,
    usedAtMs: 940_000,
    leases: 0,
    waiting: 0,
    state: 'not backed up',
    ...changes,
  };
}

export function backupInfo(sessionId: string, day: number, changes: Partial<BackupInfo> = {}): BackupInfo {
  const name = `${sessionId}-2026010${day}T000000Z.tar.zst`;
  return {
    name,
    path: `/backups/${name}`,
    sessionId,
    createdAtMs: 820_000,
    fileBytes: 3 << 20,
    manifest: {
      format: 1,
      sessionId,
      createdAtMs: 820_000,
      digest: `sha256:${'cd'.repeat(32)}`,
      fileBytes: 3 << 20,
      tarBytes: 10 << 20,
      contentBytes: 9 << 20,
      entries: { files: 12, directories: 3, symlinks: 1, hardLinks: 0, others: 0 },
      workdir: '/work',
      image: { reference: 'builtin', digest: `sha256:${'ab'.repeat(32)}` },
      versions: { alcove: '0.1.0', agent: '0.1.0' },
    },
    ...changes,
  };
}

/** Sessions that keep a log of their calls and do what a test says. A lease's commands do what the fake guest does. */
export class FakeSessions {
  list: SessionInfo[] = [];
  backups: BackupInfo[] = [];
  details: Partial<SessionDetails> = {};
  report: MaintenanceReport = { stopped: [], backedUp: [], pruned: [], failed: [] };
  /** Places in the queue that a caller is told before it gets its lease, each after so much time as the test lets go by. */
  queue: number[] = [];
  /** Called at each place. */
  onPlace: () => void = () => undefined;
  /** Detached commands that run. */
  shells: string[] = [];
  readonly #guest: FakeGuest;

  constructor(guest: FakeGuest) {
    this.#guest = guest;
  }

  calls(): Sessions {
    const { log } = this.#guest;
    return {
      acquire: (id, options) => this.#acquire(id, options),
      tryAcquire: unused,
      list: async () => {
        await log('sessions.list');
        return this.list;
      },
      inspect: async (id) => ({
        ...this.#find(id),
        backups: this.backups.filter(({ sessionId }) => sessionId === id),
        ...this.details,
      }),
      stop: async (id, { mode } = {}) => {
        await log('sessions.stop', id, mode);
        this.#change(id, { status: 'stopped', stoppedAtMs: 1_000_000 });
      },
      terminate: async (id, { backups } = {}) => {
        await log('sessions.terminate', id, backups);
        this.#find(id);
        this.list = this.list.filter((session) => session.id !== id);
        if (backups === 'remove') this.backups = this.backups.filter(({ sessionId }) => sessionId !== id);
      },
      backup: async (id, options) => {
        options?.onProgress?.('taking a snapshot');
        await log('sessions.backup', id);
        this.#find(id);
        return backupInfo(id, 9);
      },
      restore: async (id, options) => {
        await log('sessions.restore', id, options?.from);
        return sessionInfo(id);
      },
      runMaintenanceNow: async () => {
        await log('sessions.runMaintenanceNow');
        return this.report;
      },
      metrics: async () => metrics,
      backups: {
        list: async ({ sessionId } = {}) =>
          this.backups.filter((backup) => sessionId === undefined || backup.sessionId === sessionId),
        verify: async (name) => {
          await log('backups.verify', name);
          return this.#findBackup(name);
        },
        remove: async (name) => {
          await log('backups.remove', name);
          const { name: found } = this.#findBackup(name);
          this.backups = this.backups.filter((backup) => backup.name !== found);
        },
      },
    };
  }

  async #acquire(sessionId: string, options: AcquireOptions = {}): Promise<Lease> {
    const { mode = 'exclusive', waitMs, onQueued, onProgress } = options;
    for (const place of this.queue) {
      onQueued?.(place);
      this.onPlace();
    }
    onProgress?.('waking the machine');
    const { log, exec, spawn, vm } = this.#guest;
    await log('acquire', sessionId, { mode, ...(waitMs !== undefined && { waitMs }) });
    const release = () => log('released', sessionId);
    const never = new AbortController().signal;
    return {
      sessionId,
      mode,
      vm: {
        ...vm(sessionId),
        detached: async () => this.shells.map((id, index) => ({ id, pid: 100 + index })),
      },
      workdir: '/work',
      shell: '/bin/sh',
      shellArgs: ['-lc'],
      env: {},
      exec: async (command, given = {}) => {
        const { signal, onStdout, onStderr, input, ...request } = given;
        await log('lease.exec', command, request);
        return await exec({ ...given, command });
      },
      spawn: async (command, { signal = never, onProgress: _, ...request } = {}) => {
        await log('lease.spawn', command, request);
        return spawn({ ...request, command: command ?? '/bin/sh' }, signal);
      },
      attach: async (detachedId, { signal = never } = {}) => {
        await log('lease.attach', detachedId);
        return spawn({ command: '/bin/sh', detachedId }, signal);
      },
      release,
      [Symbol.asyncDispose]: release,
    };
  }

  #find(id: string): SessionInfo {
    const found = this.list.find((session) => session.id === id);
    if (found) return found;
    throw new AlcoveError('SessionNotFound', `there is no session ${id}`, { details: { sessionId: id } });
  }

  #findBackup(name: string): BackupInfo {
    const found = this.backups.find((backup) => backup.name === name);
    if (found) return found;
    throw new AlcoveError('BackupNotFound', `there is no backup ${name}`, { details: { name } });
  }

  #change(id: string, changes: Partial<SessionInfo>): void {
    this.#find(id);
    this.list = this.list.map((session) => (session.id === id ? { ...session, ...changes } : session));
  }
}

const latencyNames: LatencyName[] = [
  'acquireActive',
  'acquireStopped',
  'acquireNew',
  'acquireRestored',
  'stop',
  'backup',
  'restore',
];

const none = { count: 0, sumMs: 0, boundsMs: [1000], buckets: [0] };

const metrics: SessionMetrics = {
  places: { max: 32, taken: 3 },
  waiting: { turn: 1, place: 0 },
  leases: 2,
  active: 2,
  counts: {
    acquires: 5,
    made: 1,
    restored: 0,
    warmClaims: 0,
    resumes: 2,
    stops: 0,
    evictions: 0,
    prunes: 0,
    backupsMade: 4,
    backupsFailed: 0,
    bootstrapsFailed: 0,
    atCapacity: 0,
  },
  latencies: {
    ...(Object.fromEntries(latencyNames.map((name) => [name, none])) as Record<LatencyName, typeof none>),
    acquireStopped: { count: 2, sumMs: 500, boundsMs: [1000], buckets: [2] },
  },
};

function unused(): never {
  throw new Error('the CLI should not need this');
}
