import { randomBytes } from 'node:crypto';
import { chmod, mkdir } from 'node:fs/promises';
import { AlcoveError, isAlcoveError } from '../../errors.ts';
import { connectGuest } from '../../guest/index.ts';
import { bootId, type Clock, systemClock } from '../../host/index.ts';
import type { GuestKernel } from '../../images/index.ts';
import { type StateDir, storageError } from '../../store/index.ts';
import type {
  BackendCallOptions,
  BackendProbe,
  CreateRequest,
  RecoverRequest,
  RestoreRequest,
  VmBackend,
} from '../../vm/backend.ts';
import {
  type AcceleratorChoice,
  type AcceleratorWish,
  chooseAccelerator,
  hostEvidence,
  type KvmEvidence,
  rememberTrial,
} from './accelerator.ts';
import { BlankDisks } from './blank-disk.ts';
import { makeDisk, snapshotLayers } from './disk-layers.ts';
import type { GuestConnector } from './guest-line.ts';
import { type HostFacts, probeHost, type QemuHost, type QemuPrograms, readHostFacts } from './probe-host.ts';
import { QemuVm, type QemuVmContext } from './qemu-vm.ts';
import { MiB } from './sizes.ts';
import { assertRestorable } from './snapshot-manifest.ts';
import { describeLimits } from './spawn-qemu.ts';
import { sweep } from './sweep.ts';
import { trialBoot } from './trial-boot.ts';
import { chooseUid } from './unprivileged-user.ts';
import { type VmPlaces, vmPlaces } from './vm-places.ts';
import { type DiskRecord, readVmRecord, type VmRecord, writeVmRecord } from './vm-record.ts';

export interface QemuBackendOptions {
  stateDir: Pick<StateDir, 'root' | 'runtimeDir' | 'templatesDir' | 'tmpDir'>;
  /** @default systemClock */
  clock?: Clock;
  /** @default 'auto': KVM where a kernel was seen to boot with it, else software emulation */
  accel?: AcceleratorWish;
  /** Programs by name or path. @default `qemu-system-x86_64`, `qemu-img` */
  tools?: Partial<QemuPrograms>;
  /** A kernel that is here already, to try KVM with when `probe` is asked before any VM was started. */
  trialKernel?: () => Promise<GuestKernel | undefined>;
  /** From the start of QEMU to a guest that takes commands, in ms. @default 60000 */
  bootTimeoutMs?: number;
  /** For tests. */
  facts?: () => HostFacts;
  evidence?: KvmEvidence;
  connector?: GuestConnector;
}

/** A kernel that works under KVM comes up in a second or two; one that hangs never does. */
const trialMs = 10_000;

/**
 * VMs as QEMU processes, one each.
 *
 * @example
 * const backend = createQemuBackend({ stateDir });
 * const probe = await backend.probe();
 * if (!probe.usable) console.error(probe.reason, probe.remedy);
 */
export function createQemuBackend(options: QemuBackendOptions): VmBackend {
  return new QemuBackend(options);
}

class QemuBackend implements VmBackend, QemuVmContext {
  readonly name = 'qemu';
  readonly clock: Clock;
  readonly connector: GuestConnector;
  readonly bootTimeoutMs: number;
  readonly #options: QemuBackendOptions;
  readonly #blanks: BlankDisks;
  readonly #vms = new Set<QemuVm>();
  #host: Promise<QemuHost> | undefined;

  constructor(options: QemuBackendOptions) {
    this.#options = options;
    this.clock = options.clock ?? systemClock;
    this.connector = options.connector ?? connectGuest;
    this.bootTimeoutMs = options.bootTimeoutMs ?? 60_000;
    this.#blanks = new BlankDisks(options.stateDir);
  }

  async probe(options: BackendCallOptions = {}): Promise<BackendProbe> {
    try {
      const host = await this.host(options);
      const kernel = await this.#options.trialKernel?.();
      const { accelerator, reason } = await this.#choose(host, kernel);
      return {
        usable: true,
        version: host.qemu.text,
        facts: {
          accelerator,
          acceleratorReason: reason,
          user: host.uids ? `one per VM, from ${host.uids.base}` : "the engine's own",
          root: host.uids ? "the VM's disk only" : 'the whole file system',
          seccomp: 'on',
          limits: describeLimits(host),
          userNetwork: "reaches the host's own services, those on its loopback too",
          firmware: host.qemu.qboot ? 'qboot' : 'SeaBIOS',
        },
        capabilities: { userNetwork: true, pause: true },
      };
    } catch (error) {
      if (isAlcoveError(error, 'BackendUnavailable'))
        return { usable: false, reason: error.message, remedy: error.remedy };
      throw error;
    }
  }

  /** One probing serves all; a failed one is tried again at the next call. */
  host(options: BackendCallOptions = {}): Promise<QemuHost> {
    const { tools, facts = readHostFacts } = this.#options;
    const programs = { system: tools?.system ?? 'qemu-system-x86_64', img: tools?.img ?? 'qemu-img' };
    if (!this.#host) {
      const probing = probeHost(programs, facts(), options.signal);
      this.#host = probing;
      probing.catch(() => {
        this.#host = undefined;
      });
    }
    return this.#host;
  }

  async accelerator(request: CreateRequest): Promise<AcceleratorChoice> {
    return this.#choose(await this.host(), request.shape.kernel);
  }

  async create(request: CreateRequest, options: BackendCallOptions = {}): Promise<QemuVm> {
    const { diskMiB } = request.shape;
    options.onProgress?.('making the disk');
    const [host, blank] = await Promise.all([this.host(options), this.#blanks.get(diskMiB)]);
    return this.#make(request, host, (places, uid) =>
      makeDisk(places.jail, [{ path: blank, digest: null }], diskMiB * MiB, uid),
    );
  }

  async restore(request: RestoreRequest, options: BackendCallOptions = {}): Promise<QemuVm> {
    assertRestorable(request);
    const { snapshot, shape } = request;
    const [host, layers] = await Promise.all([
      this.host(options),
      snapshotLayers(snapshot.dir, snapshot.manifest.files),
    ]);
    return this.#make(request, host, (places, uid) =>
      makeDisk(places.jail, layers, shape.diskMiB * MiB, uid),
    );
  }

  async recover(request: RecoverRequest): Promise<QemuVm> {
    const places = this.#places(request);
    const record = await readVmRecord(places.recordPath);
    if (!record) {
      await sweep(places, this.clock);
      throw new AlcoveError('StateCorrupt', `nothing is known of ${request.id} in ${request.dir}`, {
        remedy: 'Destroy the VM; making it did not come to its end.',
      });
    }
    const vm = new QemuVm(this, request, places, record);
    this.#vms.add(vm);
    await vm.recover();
    return vm;
  }

  async reap(request: { id: string; dir: string }): Promise<void> {
    await sweep(this.#places(request), this.clock);
  }

  forget(vm: QemuVm): void {
    this.#vms.delete(vm);
  }

  #places({ id, dir }: { id: string; dir: string }): VmPlaces {
    return vmPlaces(this.#options.stateDir, id, dir);
  }

  async #make(
    request: CreateRequest,
    host: QemuHost,
    disk: (places: VmPlaces, uid: number | undefined) => Promise<DiskRecord>,
  ): Promise<QemuVm> {
    const places = this.#places(request);
    const inUse = new Set([...this.#vms].flatMap(({ uid }) => uid ?? []));
    const uid = host.uids && chooseUid(host.uids, places.processName, inUse);
    try {
      // Searchable for the VM's user, writable for nobody but the engine.
      await mkdir(places.jail);
      await chmod(places.jail, 0o711);
    } catch (error) {
      throw storageError(places.jail, error);
    }
    const record: VmRecord = { version: 1, uid: uid ?? null, mac: newMac(), disk: await disk(places, uid) };
    await writeVmRecord(places.recordPath, record);
    const vm = new QemuVm(this, request, places, record);
    this.#vms.add(vm);
    return vm;
  }

  #choose(host: QemuHost, kernel: GuestKernel | undefined): Promise<AcceleratorChoice> {
    const { accel = 'auto', evidence, stateDir } = this.#options;
    const trial = (tried: GuestKernel) =>
      trialBoot({
        program: host.programs.system,
        accelerator: 'kvm',
        kernel: tried,
        deadlineMs: trialMs,
        clock: this.clock,
      });
    const remembered = rememberTrial(stateDir.root, [bootId(), host.qemu.text], trial);
    return chooseAccelerator(accel, kernel, evidence ?? { ...hostEvidence, trial: remembered });
  }
}

/** Locally administered, in QEMU's own range, and random: no two VMs share one, those made from one snapshot neither. */
function newMac(): string {
  const [a = 0, b = 0, c = 0] = randomBytes(3);
  return ['52', '54', '00', ...[a, b, c].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
