import { randomBytes } from 'node:crypto';
import { type Clock, SingleFlight, systemClock } from '../host/index.ts';
import type { ImageStore, KernelStore } from '../images/index.ts';
import type { Database } from '../store/index.ts';
import { Admission, type VmLimits } from './admission.ts';
import type { VmBackend } from './backend.ts';
import type { Failpoint } from './failpoints.ts';
import { defaultLimits, type HostFacts, readHostFacts } from './host-facts.ts';
import type { Random } from './ids.ts';
import { Journal } from './journal.ts';
import { Lanes } from './lanes.ts';
import { Machines } from './machine.ts';
import { vmMigrations } from './migrations.ts';
import { Pins } from './pins.ts';
import { recoverVms } from './recovery.ts';
import { Backends, type RuntimeContext, type VmPlaces } from './runtime-context.ts';
import { SnapshotRecords } from './snapshot-records.ts';
import {
  type HostRoom,
  readHostRoom,
  Spares,
  sparesMigrations,
  type WarmOptions,
  warmOptions,
} from './spares/index.ts';
import { VmRecords } from './vm-records.ts';
import { VmRuntime } from './vm-runtime.ts';

export interface VmRuntimeOptions {
  database: Database;
  /** Directories that belong to this runtime alone, and exist. */
  stateDir: VmPlaces;
  backends: readonly VmBackend[];
  /** Name of the one that makes new VMs; a VM made from a snapshot gets the snapshot's. */
  defaultBackend: string;
  images: ImageStore;
  kernels: KernelStore;
  /** @default the system's */
  clock?: Clock;
  /** Those given replace the host's, which are: 256 VMs, all memory but 512 MiB, as much disk as the file system has. */
  limits?: Partial<VmLimits>;
  /** @default the operating system's */
  random?: Random;
  /** @default read from this machine */
  hostFacts?: HostFacts;
  /** Machines made ahead of need; see {@link WarmOptions}. @default none are made but by hand */
  warm?: Partial<WarmOptions>;
  /** @default read from this machine */
  hostRoom?: () => HostRoom;
  /** How long a destroyed VM stays listed, in ms. @default 1 hour */
  retentionMs?: number;
  /** Told what could not be reported to a caller. @default a warning of the process */
  warn?: (message: string) => void;
  /** For crash tests. @default nothing happens */
  failpoint?: Failpoint;
}

const defaultRetentionMs = 3_600_000;

/**
 * Opens the VM runtime over a state directory that the caller has locked: brings its tables up to date, and finds or
 * mends what an earlier engine left; see {@link VmRuntime.mended}.
 *
 * @throws AlcoveError `StateUnusable`, `StateCorrupt`, `InvalidInput` (`warm`), `BackendUnavailable` when the default backend is not among those given
 */
export async function openVmRuntime(options: VmRuntimeOptions): Promise<VmRuntime> {
  const { database, failpoint, clock = systemClock } = options;
  database.migrate('vm', vmMigrations);
  database.migrate('spares', sparesMigrations);
  const host = options.hostFacts ?? readHostFacts(options.stateDir.root);
  const vms = new VmRecords(database);
  const admission = new Admission({ ...defaultLimits(host), ...options.limits });
  const warn = options.warn ?? ((message) => process.emitWarning(message, 'AlcoveWarning'));
  const context: RuntimeContext = {
    database,
    places: options.stateDir,
    backends: new Backends(options.backends, options.defaultBackend),
    images: options.images,
    kernels: options.kernels,
    clock,
    random: options.random ?? ((bytes) => randomBytes(bytes)),
    host,
    vms,
    snapshots: new SnapshotRecords(database),
    journal: new Journal(database),
    admission,
    lanes: new Lanes(),
    machines: new Machines((id, reason) => recordDeath(context, id, reason)),
    pins: new Pins(),
    verifications: new SingleFlight(),
    get spares() {
      return spares;
    },
    warn,
    at: async (name) => failpoint?.(name),
  };
  const warmth = warmOptions(options.warm ?? {}, admission.limits.memoryMiB);
  const hostRoom = options.hostRoom ?? (() => readHostRoom(options.stateDir.root));
  const spares = new Spares(context, warmth, hostRoom);
  const mended = [...(await recoverVms(context)), ...(await spares.recover())];
  return new VmRuntime(context, mended, options.retentionMs ?? defaultRetentionMs);
}

/** Makes a VM that died by itself `stopped`, at once, whatever call is under way on it. */
function recordDeath(context: RuntimeContext, id: string, reason: string): void {
  try {
    const status = context.vms.find(id)?.status;
    if (status !== 'running' && status !== 'paused') return;
    context.vms.setStatus(id, 'stopped', reason, context.clock.now());
    context.admission.releaseMemory(id);
  } catch (error) {
    context.warn(`VM ${id} died (${reason}), which could not be recorded: ${(error as Error).message}`);
  }
}
