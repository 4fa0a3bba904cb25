import { join } from 'node:path';
import { AlcoveError, cancelled } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import type {
  BackendCallOptions,
  BackendHandle,
  BackendVm,
  CreateRequest,
  PhysicalState,
  SnapshotManifest,
  SpareKey,
  StartRequest,
} from '../../vm/backend.ts';
import type { QemuContext } from './context.ts';
import { pauseMachine, resumeMachine, shutDownGuest } from './guest-power.ts';
import { ImageAhead } from './image-ahead.ts';
import { queryRunState } from './qmp-commands.ts';
import { readRunRecord } from './run-record.ts';
import { snapshotVm } from './snapshot-vm.ts';
import { startVm } from './start-vm.ts';
import { suspendVm } from './suspend-vm.ts';
import { VmFiles } from './vm-files.ts';
import { VmMachine } from './vm-machine.ts';
import type { VmParts } from './vm-parts.ts';
import type { VmPlaces } from './vm-places.ts';
import type { VmRecord } from './vm-record.ts';

/** One VM of the QEMU backend. See {@link BackendVm} for what each call promises. */
export class QemuVm implements BackendVm {
  readonly #parts: VmParts;

  constructor(context: QemuContext, request: CreateRequest, places: VmPlaces, record: VmRecord) {
    const files = new VmFiles(request, places, record);
    const machine = new VmMachine(context, files);
    this.#parts = { context, request, files, machine, ahead: new ImageAhead(context.images) };
  }

  get id(): string {
    return this.#parts.files.places.id;
  }

  /** For people and for `inspect`; `recover` needs none of it. */
  get handle(): BackendHandle {
    const { files } = this.#parts;
    const run = readRunRecord(join(files.places.machineDir, 'run.json'));
    return {
      version: 2,
      layers: files.disk.layers.length,
      memoryLayers: files.layers.length,
      ...(run && {
        pid: run.process?.pid,
        uid: run.uid,
        accelerator: run.facts.accelerator,
        confinement: run.confinement,
      }),
    };
  }

  /** See {@link SpareMaker.keysFor}. */
  get spareKeys(): readonly SpareKey[] {
    return this.#parts.files.spareKeys;
  }

  /** Looks for its machine after a restart of the engine, and takes charge of it. What is left of work that was cut short goes. */
  async recover(): Promise<void> {
    const { files, machine } = this.#parts;
    await machine.recover();
    await files.removeOthers();
  }

  async observe(): Promise<PhysicalState> {
    const { files, machine } = this.#parts;
    switch (await machine.state()) {
      case 'none':
        return files.memoryState === 'kept' ? 'suspended' : 'off';
      case 'running':
        return 'running';
      case 'paused':
      case 'prelaunch':
      case 'other':
        return 'paused';
      default:
        return 'off'; // Its end is on the way to whoever listens.
    }
  }

  async start(request: StartRequest, options: BackendCallOptions = {}): Promise<void> {
    await startVm(this.#parts, request, options);
  }

  async stop(request: { graceMs: number; memory?: true }, options: BackendCallOptions = {}): Promise<void> {
    const { context, files, machine } = this.#parts;
    const { signal } = options;
    if (signal?.aborted) throw cancelled(`stopping ${this.id}`, signal);
    if (request.memory) return suspendVm(this.#parts, options);
    const running = machine.detach();
    if (!running) return machine.cleared();
    // Without the guest's help it ends by force; what its disk then lacks is what no one had flushed.
    await shutDownGuest(running, request.graceMs, context.clock, files.record.mac).catch(() => undefined);
    await machine.clear(running);
  }

  async pause(options: BackendCallOptions = {}): Promise<void> {
    await pauseMachine(this.#parts.machine.live(), options.signal);
  }

  async resume(options: BackendCallOptions = {}): Promise<void> {
    const { context, files, machine } = this.#parts;
    await resumeMachine(machine.live(), context, files.record.mac, options.signal);
  }

  async snapshot(
    request: Parameters<BackendVm['snapshot']>[0],
    options: BackendCallOptions = {},
  ): Promise<SnapshotManifest> {
    return snapshotVm(this.#parts, request, options);
  }

  async destroy(): Promise<void> {
    await this.#parts.ahead.end();
    await this.#parts.machine.destroy();
  }

  async guest(options: BackendCallOptions = {}): Promise<GuestChannel> {
    const { machine, line } = this.#parts.machine.live();
    if ((await queryRunState(machine.qmp).catch(() => undefined)) === 'paused')
      throw new AlcoveError('GuestUnreachable', `${this.id} is paused`, { remedy: 'Resume it first.' });
    return line.channel(options.signal);
  }

  async console(): Promise<string> {
    return this.#parts.machine.console();
  }

  onExit(listener: (reason: string) => void): () => void {
    return this.#parts.machine.onExit(listener);
  }

  async release(): Promise<void> {
    await this.#parts.ahead.end();
    await this.#parts.machine.release();
  }
}
