import { join } from 'node:path';
import { AlcoveError } from '../errors.ts';
import type { Clock, SingleFlight } from '../host/index.ts';
import type { ImageStore, KernelStore } from '../images/index.ts';
import type { Database, StateDirLayout } from '../store/index.ts';
import type { Admission } from './admission.ts';
import type { BackendCapabilities, BackendVm, VmBackend } from './backend.ts';
import type { FailpointName } from './failpoints.ts';
import type { HostFacts } from './host-facts.ts';
import type { Random } from './ids.ts';
import type { Intent, Journal } from './journal.ts';
import type { Lanes } from './lanes.ts';
import type { Machine, Machines } from './machine.ts';
import type { Pins } from './pins.ts';
import type { SnapshotRecords } from './snapshot-records.ts';
import type { Spares } from './spares/index.ts';
import type { VmRecord, VmRecords } from './vm-records.ts';

/**
 * Where things lie in the state directory. Those of VMs, snapshots and spares belong to the runtime; the others it looks at, to say
 * what takes the disk and what is garbage.
 */
export type VmPlaces = Pick<
  StateDirLayout,
  'root' | 'vmsDir' | 'snapshotsDir' | 'sparesDir' | 'imagesDir' | 'kernelsDir' | 'templatesDir' | 'tmpDir'
>;

/** What the parts of one runtime share. */
export interface RuntimeContext {
  readonly database: Database;
  readonly places: VmPlaces;
  readonly backends: Backends;
  readonly images: ImageStore;
  readonly kernels: KernelStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly host: HostFacts;
  readonly vms: VmRecords;
  readonly snapshots: SnapshotRecords;
  readonly journal: Journal;
  readonly admission: Admission;
  readonly lanes: Lanes;
  readonly machines: Machines;
  readonly pins: Pins;
  /** Readings of whole snapshots under way, which several calls may wait for. */
  readonly verifications: SingleFlight<void>;
  readonly spares: Spares;
  /** Told what could not be reported to a caller, in words for people. */
  readonly warn: (message: string) => void;
  /** Awaited at every step; see {@link FailpointName}. */
  readonly at: (name: FailpointName) => Promise<void>;
}

export function vmDir(context: RuntimeContext, id: string): string {
  return join(context.places.vmsDir, id);
}

export function snapshotDir(context: RuntimeContext, uid: string): string {
  return join(context.places.snapshotsDir, uid);
}

/** Writes an intent into the journal, in one transaction with `also`, and dies there when a test wants it to. */
export async function beginJournal(
  context: RuntimeContext,
  intent: Intent,
  also: () => void = () => undefined,
): Promise<number> {
  const seq = context.database.transact(() => {
    also();
    return context.journal.begin(intent, context.clock.now());
  });
  await context.at(`${intent.op}.journalled`);
  return seq;
}

/** The backend's object for a VM, found again where that has not happened yet. */
export async function attach(
  context: RuntimeContext,
  record: VmRecord,
): Promise<{ machine: Machine; vm: BackendVm }> {
  const machine = context.machines.of(record.id);
  if (machine.vm) return { machine, vm: machine.vm };
  const image = await context.images.find(record.image.digest);
  if (!image) {
    throw new AlcoveError('ImageNotFound', `the image ${record.image.digest} of VM ${record.id} is gone`, {
      remedy: 'Get the image again; the VM works again then.',
      details: { digest: record.image.digest },
    });
  }
  return context.machines.attach(record, {
    dir: vmDir(context, record.id),
    backend: context.backends.named(record.backend),
    rootfsPath: image.rootfsPath,
  });
}

/** The backends of one runtime, each asked once whether it can be used. */
export class Backends {
  readonly default: VmBackend;
  readonly all: readonly VmBackend[];
  readonly #probes = new Map<string, Promise<BackendCapabilities>>();

  constructor(all: readonly VmBackend[], defaultName: string) {
    this.all = all;
    this.default = this.#find(defaultName) ?? missing(defaultName);
  }

  /** @throws AlcoveError `BackendUnavailable` */
  named(name: string): VmBackend {
    return this.#find(name) ?? missing(name);
  }

  /**
   * What a backend can do here. A refusal is not remembered: what was missing may be there the next time.
   *
   * @throws AlcoveError `BackendUnavailable`
   */
  async capabilities(backend: VmBackend): Promise<BackendCapabilities> {
    let probe = this.#probes.get(backend.name);
    if (!probe) {
      probe = usable(backend);
      this.#probes.set(backend.name, probe);
      probe.catch(() => this.#probes.delete(backend.name));
    }
    return probe;
  }

  #find(name: string): VmBackend | undefined {
    return this.all.find((backend) => backend.name === name);
  }
}

async function usable(backend: VmBackend): Promise<BackendCapabilities> {
  const probe = await backend.probe();
  if (probe.usable) return probe.capabilities;
  throw new AlcoveError('BackendUnavailable', `the ${backend.name} backend cannot be used: ${probe.reason}`, {
    remedy: probe.remedy,
    details: { backend: backend.name },
  });
}

function missing(name: string): never {
  throw new AlcoveError('BackendUnavailable', `there is no backend ${name} in this engine`, {
    remedy: 'Open the engine with that backend.',
    details: { backend: name },
  });
}

/** @throws AlcoveError `Unsupported` */
export function requireCapability(
  backend: VmBackend,
  capabilities: BackendCapabilities,
  capability: keyof BackendCapabilities,
): void {
  if (capabilities[capability]) return;
  throw new AlcoveError('Unsupported', `the ${backend.name} backend cannot do ${capability}`, {
    details: { capability },
  });
}
