import { AlcoveError } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import type { BackendCallOptions } from '../../vm/backend.ts';
import { type CapturedMemory, type PreparedMemoryCapture, prepareMemoryCapture } from './capture-memory.ts';
import type { QemuContext } from './context.ts';
import { type DiskOwner, type PreparedDiskFreeze, prepareDiskFreeze } from './freeze-disk.ts';
import type { RunningMachine } from './guest-power.ts';
import { queryRunState } from './qmp-commands.ts';
import { updateRunRecord } from './run-record.ts';

/** How long the guest may stay frozen before it thaws by itself; a capture that took longer is thrown away. */
const freezeMs = 20_000;

export interface CaptureRunningRequest extends BackendCallOptions {
  /** Whose disk is frozen at the same instant. */
  disk?: DiskOwner;
  /** Of its memory, when that is captured too. */
  ramBytes: number | undefined;
  /** Takes what is too much for the engine's memory; does not exist. */
  spillPath: string;
  /** Whether the machine is let go on, when it was going before. */
  afterwards: 'goes on' | 'stands still';
}

export interface CapturedInstant {
  memory: CapturedMemory | undefined;
  /** Lets a machine that stands still go on after all. */
  goOn(): Promise<void>;
}

/**
 * Captures a machine at one instant: its file systems flushed, with memory its processes and processors standing still too. A
 * paused one stands so already. Whatever can be done before or after the instant is; see docs/decisions/0008-snapshots-of-memory.md
 * for where its time goes.
 */
export async function captureRunning(
  context: QemuContext,
  running: RunningMachine,
  request: CaptureRunningRequest,
): Promise<CapturedInstant> {
  const { machine, line } = running;
  const { signal } = request;
  const callOptions = signal ? { signal } : {};
  const paused = (await queryRunState(machine.qmp)) === 'paused';
  const guest = paused ? undefined : await line.channel(signal);
  await guest?.runHooks('before-snapshot', callOptions);
  const disk = request.disk && (await prepareDiskFreeze(request.disk, machine));
  const instant = new Instant(context, running, guest, disk, request);
  let memory: CapturedMemory | undefined;
  try {
    memory = await instant.capture();
    await context.at('capture.resumed');
    if (request.afterwards === 'goes on') await guest?.runHooks('after-snapshot', callOptions);
    return { memory, goOn: () => instant.goOn() };
  } catch (error) {
    await memory?.[Symbol.asyncDispose]();
    await disk?.undo();
    throw error;
  }
}

class Instant {
  readonly #context: QemuContext;
  readonly #running: RunningMachine;
  /** `undefined` of a machine that is paused. */
  readonly #guest: GuestChannel | undefined;
  readonly #disk: PreparedDiskFreeze | undefined;
  readonly #request: CaptureRunningRequest;

  constructor(
    context: QemuContext,
    running: RunningMachine,
    guest: GuestChannel | undefined,
    disk: PreparedDiskFreeze | undefined,
    request: CaptureRunningRequest,
  ) {
    this.#context = context;
    this.#running = running;
    this.#guest = guest;
    this.#disk = disk;
    this.#request = request;
  }

  async capture(): Promise<CapturedMemory | undefined> {
    const { clock, memoryAccess: access } = this.#context;
    const { afterwards, ramBytes, spillPath } = this.#request;
    const { machine } = this.#running;
    await using prepared =
      ramBytes === undefined
        ? undefined
        : await prepareMemoryCapture(machine, { ramBytes, spillPath, access });
    const before = clock.monotonic();
    let memory: CapturedMemory | undefined;
    if (this.#guest) updateRunRecord(machine.places.runPath, { sealed: true });
    try {
      await this.#guest?.freeze({ maxMs: freezeMs, processes: prepared ? 'freeze' : 'leave' });
      memory = await this.#take(prepared);
      if (afterwards === 'goes on') await this.goOn();
    } catch (error) {
      await memory?.[Symbol.asyncDispose]();
      await this.goOn().catch(() => undefined); // A guest that cannot be told thaws by itself.
      throw error;
    }
    // The file systems thawed by themselves before the instant: what was captured is torn.
    if (this.#guest && clock.monotonic() - before >= freezeMs) {
      await memory?.[Symbol.asyncDispose]();
      throw new AlcoveError(
        'GuestUnreachable',
        'the guest did not stand still for long enough to be captured',
      );
    }
    return memory;
  }

  async #take(prepared: PreparedMemoryCapture | undefined): Promise<CapturedMemory | undefined> {
    const { machine } = this.#running;
    await this.#context.at('capture.frozen');
    if (prepared && this.#guest) await machine.qmp.execute('stop');
    await this.#disk?.freeze();
    const memory = await prepared?.take();
    await this.#context.at('capture.saved');
    return memory;
  }

  /** As it was before. */
  async goOn(): Promise<void> {
    if (!this.#guest) return;
    await this.#running.machine.qmp.execute('cont');
    await this.#guest.thaw();
    updateRunRecord(this.#running.machine.places.runPath, { sealed: false });
  }
}
