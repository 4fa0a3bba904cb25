import { randomBytes } from 'node:crypto';
import { ManualClock } from '../../src/backends/memory/index.ts';
import type { BackupStore } from '../../src/sessions/backup/backup-store.ts';
import {
  openSessions,
  type SessionFailpoint,
  type SessionFailpointName,
  type SessionOptions,
  type SessionPool,
} from '../../src/sessions/index.ts';
import type { VmInfo } from '../../src/vm/index.ts';
import { openFixture, type RuntimeFixture } from '../vm/runtime-fixture.ts';
import { BackupPlace } from './fake-backup-store.ts';
import { installShell } from './guest-shell.ts';
import { Life, type Tell } from './life.ts';

/** A clock whose wall time can be set, too. */
export class SettableClock extends ManualClock {
  #aheadMs = 0;

  override now(): number {
    return super.now() + this.#aheadMs;
  }

  /** Sets the wall clock; what time has passed is not touched by it. */
  set(byMs: number): void {
    this.#aheadMs += byMs;
  }
}

export const minute = 60_000;
export const hour = 60 * minute;

export const testOptions: SessionOptions = {
  enabled: true,
  image: 'builtin',
  maxVms: 3,
  shell: '/bin/sh',
  shellArgs: ['-lc'],
  env: {},
  idleShutdownMs: 15 * minute,
  pruneAfterMs: hour,
  backupKeep: 3,
  bootstrapTimeoutMs: 10 * minute,
  stopMode: 'suspend',
  maintenanceIntervalMs: minute,
  stopIdleForRoom: 'no',
  cpus: 1,
  memoryMiB: 256,
  diskMiB: 2048,
  network: 'none',
};

interface Options {
  options?: Partial<SessionOptions>;
  failpoint?: SessionFailpoint;
  /** Hears of every call that the pool makes of the runtime. */
  tell?: Tell;
}

/** A state directory with a pool on the memory backend, and the means to lose and reopen it. */
export interface SessionsFixture extends AsyncDisposable {
  readonly vm: RuntimeFixture;
  readonly clock: SettableClock;
  readonly place: BackupPlace;
  readonly warnings: string[];
  sessions: SessionPool;
  /** What the current one mended when it opened. */
  mended: readonly string[];
  /** Machines of sessions that there are. */
  machines(): Promise<VmInfo[]>;
  /** Closes engine and pool and opens others over the same directory. */
  reopen(options?: Options): Promise<SessionPool>;
  /** As {@link reopen}, without a close: what the old ones have under way is frozen and never goes on. */
  crash(options?: Options): Promise<SessionPool>;
  /** Resolves when the engine stands at a step, for good; {@link crash} comes next. */
  standAt(step: SessionFailpointName): Promise<void>;
  /** Takes that back where it has not come to it. */
  standNowhere(): void;
  /** Whether it does. */
  readonly stands: boolean;
}

/** Backups go to `place` when `options.backupDestination` is set, or with `backups`. */
export async function openSessionsFixture(
  given: Options & { backups?: 'yes' | 'no' } = {},
): Promise<SessionsFixture> {
  const { backups = 'no' } = given;
  const clock = new SettableClock();
  const place = new BackupPlace(clock);
  let life = new Life();
  let stand: { step: SessionFailpointName; reached: () => void } | undefined;
  let stands = false;
  /** An engine that died goes no step further. */
  const dying = (of: Life) => () => (of.isOver ? new Promise<void>(() => undefined) : undefined);
  const vm = await openFixture({
    databasePath: ':memory:',
    clock,
    backendOptions: { clock, spares: 'no' },
    failpoint: dying(life),
  });
  installShell(vm.backend);
  const warnings: string[] = [];
  const open = async (more: Options) => {
    const { options, failpoint, tell } = { ...given, ...more };
    const current = life;
    const store: BackupStore | undefined = backups === 'yes' ? place.store(current) : undefined;
    return openSessions({
      owner: 'test',
      runtime: current.object(vm.runtime, tell),
      images: vm.images,
      database: vm.database,
      options: { ...testOptions, ...(store && { backupDestination: '/backups' }), ...options },
      ...(store && { store: current.object(store) }),
      random: randomBytes,
      clock: current.clock(clock),
      warn: (message) => warnings.push(message),
      failpoint: (name) => {
        if (stand?.step === name) {
          stand.reached();
          stands = true;
          return new Promise(() => undefined);
        }
        return current.isOver ? new Promise(() => undefined) : failpoint?.(name);
      },
    });
  };
  const opened = await open({});
  const fixture: SessionsFixture = {
    vm,
    clock,
    place,
    warnings,
    ...opened,
    standNowhere() {
      stand = undefined;
    },
    get stands() {
      return stands;
    },
    async machines() {
      const vms = await vm.runtime.list({ destroyed: 'leave-out' });
      return vms.filter(({ labels }) => labels['alcove.session'] !== undefined);
    },
    async reopen(more = {}) {
      await fixture.sessions.close();
      await vm.reopen({ failpoint: dying(life) });
      Object.assign(fixture, await open(more));
      return fixture.sessions;
    },
    async crash(more = {}) {
      stand = undefined;
      stands = false;
      life.end();
      life = new Life();
      await vm.crash({ failpoint: dying(life) });
      Object.assign(fixture, await open(more));
      return fixture.sessions;
    },
    standAt(step) {
      const { promise, resolve } = Promise.withResolvers<void>();
      stand = { step, reached: resolve };
      return promise;
    },
    async [Symbol.asyncDispose]() {
      await fixture.sessions.close();
      await vm[Symbol.asyncDispose]();
    },
  };
  return fixture;
}

/** Lets everything run that needs no time to pass. */
export async function settled(turns = 30): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}
