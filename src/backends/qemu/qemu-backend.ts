import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError, isAlcoveError } from '../../errors.ts';
import { connectGuest } from '../../guest/index.ts';
import { bootId, type Clock, systemClock } from '../../host/index.ts';
import type { GuestKernel } from '../../images/index.ts';
import { type StateDir, storageError } from '../../store/index.ts';
import type {
  BackendCallOptions,
  BackendProbe,
  CreateRequest,
  MachineShape,
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
import { blankDisk } from './blank-disk.ts';
import type { MemoryAccess, QemuContext } from './context.ts';
import { makeDisk, snapshotLayers } from './disk-layers.ts';
import type { Failpoint, QemuFailpointName } from './failpoints.ts';
import type { GuestConnector } from './guest-line.ts';
import { QemuKeepsakes } from './keepsakes.ts';
import { machineFacts } from './machine-facts.ts';
import { MadeFiles } from './made-files.ts';
import { MemoryImages } from './memory/index.ts';
import { adoptMemory, type KeptMemory, snapshotMemory } from './memory-files.ts';
import { newMac } from './new-mac.ts';
import { type HostFacts, probeHost, type QemuHost, type QemuPrograms, readHostFacts } from './probe-host.ts';
import { QemuVm } from './qemu-vm.ts';
import { rememberHost } from './remember-host.ts';
import { MiB } from './sizes.ts';
import { assertDiskRestorable, assertMemoryFits } from './snapshot-manifest.ts';
import { QemuSpares } from './spares.ts';
import { describeLimits } from './spawn-qemu.ts';
import { machineIn, sweep } from './sweep.ts';
import { inEach, sweepOrphans } from './sweep-orphans.ts';
import { Templates } from './templates.ts';
import { trialBoot } from './trial-boot.ts';
import { UidPool } from './uid-pool.ts';
import { machinePlaces, type NamingStateDir, vmPlaces } from './vm-places.ts';
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
  /** `refused`: as on a host that does not let the engine look into QEMU's memory. @default 'as the host has it' */
  memoryAccess?: MemoryAccess;
  failpoint?: (name: QemuFailpointName) => Promise<void> | undefined;
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

class QemuBackend implements VmBackend, QemuContext {
  readonly name = 'qemu';
  readonly clock: Clock;
  readonly connector: GuestConnector;
  readonly bootTimeoutMs: number;
  readonly memoryAccess: MemoryAccess;
  readonly stateDir: NamingStateDir;
  readonly uids = new UidPool();
  readonly images: MemoryImages;
  readonly templates: Templates;
  readonly at: Failpoint;
  readonly #options: QemuBackendOptions;
  readonly files: MadeFiles;
  readonly spares: QemuSpares;
  readonly keepsakes: QemuKeepsakes;
  #host: Promise<QemuHost> | undefined;

  constructor(options: QemuBackendOptions) {
    this.#options = options;
    this.clock = options.clock ?? systemClock;
    this.connector = options.connector ?? connectGuest;
    this.bootTimeoutMs = options.bootTimeoutMs ?? 60_000;
    const { stateDir } = options;
    this.stateDir = stateDir;
    this.memoryAccess = options.memoryAccess ?? 'as the host has it';
    this.at = async (name) => options.failpoint?.(name);
    this.files = new MadeFiles(stateDir);
    this.images = new MemoryImages({
      dir: join(stateDir.templatesDir, 'memory'),
      tmpDir: stateDir.tmpDir,
      clock: this.clock,
    });
    this.spares = new QemuSpares(this);
    this.templates = new Templates(stateDir.templatesDir, () => this, this.at);
    this.keepsakes = new QemuKeepsakes(stateDir.templatesDir, this.templates, this.images);
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
        capabilities: { userNetwork: true, pause: true, memorySnapshots: true },
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
      const found = facts();
      const probing = rememberHost(this.stateDir.root, programs, found, () =>
        probeHost(programs, found, options.signal),
      );
      this.#host = probing;
      probing.catch(() => {
        this.#host = undefined;
      });
    }
    return this.#host;
  }

  async accelerator({ kernel }: MachineShape): Promise<AcceleratorChoice> {
    return this.#choose(await this.host(), kernel);
  }

  async open(): Promise<string[]> {
    const { root, templatesDir, tmpDir } = this.#options.stateDir;
    const machineDirs = [
      ...inEach(join(root, 'vms'), 'machine'),
      ...inEach(templatesDir, 'machine'),
      ...inEach(join(root, 'spares'), ''),
    ];
    return [
      ...(await sweepOrphans(this.stateDir, machineDirs, tmpDir, this.clock)),
      ...(await this.templates.sweep()),
    ];
  }

  async create(request: CreateRequest, options: BackendCallOptions = {}): Promise<QemuVm> {
    const { diskMiB } = request.shape;
    options.onProgress?.('making the disk');
    const [, blank] = await Promise.all([this.host(options), blankDisk(this.files, diskMiB)]);
    return this.#make(
      request,
      (dir) => makeDisk(dir, [{ path: blank, digest: null }], diskMiB * MiB, 'as-image'),
      undefined,
    );
  }

  async restore(request: RestoreRequest, options: BackendCallOptions = {}): Promise<QemuVm> {
    assertDiskRestorable(request);
    const { snapshot, shape } = request;
    const memory = request.memory === 'include' ? snapshotMemory(snapshot.dir, snapshot.manifest) : undefined;
    const [host, { accelerator }, layers] = await Promise.all([
      this.host(options),
      this.accelerator(shape),
      snapshotLayers(snapshot.dir, snapshot.manifest.files),
    ]);
    if (memory) assertMemoryFits(memory.facts, machineFacts(shape, accelerator, host.qemu));
    const makeIt = (dir: string) => makeDisk(dir, layers, shape.diskMiB * MiB, 'changed');
    return this.#make(request, makeIt, memory);
  }

  async recover(request: RecoverRequest): Promise<QemuVm> {
    const places = vmPlaces(request.id, request.dir);
    const record = await readVmRecord(places.recordPath);
    if (!record) {
      await this.reap(request);
      throw new AlcoveError('StateCorrupt', `nothing is known of ${request.id} in ${request.dir}`, {
        remedy: 'Destroy the VM; making it did not come to its end.',
      });
    }
    const vm = new QemuVm(this, request, places, record);
    await vm.recover();
    return vm;
  }

  async reap(request: { id: string; dir: string }): Promise<void> {
    const { machineDir } = vmPlaces(request.id, request.dir);
    const places = machineIn(this.stateDir, machineDir, request.id);
    await sweep(places, this.clock);
    if (places.name === request.id) return;
    await sweep(machinePlaces(this.stateDir, request.id, machineDir), this.clock);
  }

  async #make(
    request: CreateRequest,
    makeItsDisk: (dir: string) => Promise<DiskRecord>,
    memory: KeptMemory | undefined,
  ): Promise<QemuVm> {
    const places = vmPlaces(request.id, request.dir);
    machinePlaces(this.stateDir, request.id, places.machineDir); // A name that gives no socket's path is refused here.
    try {
      await mkdir(places.disk);
    } catch (error) {
      throw storageError(places.disk, error);
    }
    const [disk, kept] = await Promise.all([
      makeItsDisk(places.disk),
      memory ? adoptMemory(places.memory, memory, 'layers and state') : null,
    ]);
    const record: VmRecord = { version: 2, mac: newMac(), disk, memory: kept };
    await writeVmRecord(places.recordPath, record);
    return new QemuVm(this, request, places, record);
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
