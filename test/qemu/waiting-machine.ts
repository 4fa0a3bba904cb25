import { spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { killProcess } from '../../src/backends/qemu/end-process.ts';
import { diskDevice, imageDevice, machineArgs } from '../../src/backends/qemu/machine-args.ts';
import { QmpConnection } from '../../src/backends/qemu/qmp-connection.ts';
import { makeMachineDir } from '../../src/backends/qemu/spawn-qemu.ts';
import { machinePlaces } from '../../src/backends/qemu/vm-places.ts';
import { connectGuest, type GuestChannel } from '../../src/guest/index.ts';
import { systemClock as clock, identifyProcess } from '../../src/host/index.ts';
import type { MachineFixture } from './machine-fixture.ts';

/** Files that are drives: a squashfs, and a raw ext4. */
export interface DriveFiles {
  image: string;
  disk: string;
}

/** A booted machine with empty drives, whose agent waits to be set up. */
export class WaitingMachine implements AsyncDisposable {
  readonly guest: GuestChannel;
  readonly #qmp: QmpConnection;
  readonly #end: () => Promise<void>;
  #swaps = 0;

  private constructor(qmp: QmpConnection, guest: GuestChannel, end: () => Promise<void>) {
    this.#qmp = qmp;
    this.guest = guest;
    this.#end = end;
  }

  static async boot(fixture: MachineFixture, name: string): Promise<WaitingMachine> {
    const places = machinePlaces(fixture.stateDir, name, join(fixture.stateDir.vmsDir, name));
    makeMachineDir(places);
    mkdirSync(places.socketDir, { recursive: true });
    const args = machineArgs({
      qemu: { major: 7, minor: 2, text: '7.2', qboot: true },
      accelerator: 'tcg',
      places,
      shape: fixture.request(name, { network: 'user' }).shape,
      ram: 'shared',
      begin: 'boot',
      disk: undefined,
      dropTo: undefined,
    });
    const child = spawn('qemu-system-x86_64', args, { stdio: 'ignore' });
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    const identity = identifyProcess(child.pid ?? 0);
    if (!identity) throw new Error('QEMU ended at once');
    const undo = new AsyncDisposableStack();
    undo.defer(async () => {
      await killProcess(identity, clock);
      rmSync(places.socketDir, { recursive: true });
    });
    try {
      const qmp = undo.use(
        await QmpConnection.open({
          path: places.qmpSocket,
          clock,
          timeoutMs: 20_000,
          onEvent: () => undefined,
        }),
      );
      await qmp.execute('cont');
      const guest = undo.use(
        await connectGuest({ socketPath: places.agentSocket, line: 'fresh', deadlineMs: 60_000, clock }),
      );
      const owned = undo.move();
      return new WaitingMachine(qmp, guest, () => owned.disposeAsync());
    } catch (error) {
      await undo.disposeAsync();
      throw error;
    }
  }

  /** Puts other files behind the same two devices, while the machine stands still. */
  async swap({ disk, image }: DriveFiles): Promise<void> {
    const nodes = [
      [imageDevice, image, true],
      [diskDevice, disk, false],
    ] as const;
    this.#swaps += 1;
    await this.#qmp.execute('stop');
    for (const [device, filename, readOnly] of nodes) {
      const node = `${device}-${this.#swaps}`;
      const file = { driver: 'file', filename, 'read-only': readOnly };
      await this.#qmp.execute('blockdev-add', {
        driver: 'raw',
        'node-name': node,
        'read-only': readOnly,
        file,
      });
      const path = `/machine/peripheral/${device}`;
      await this.#qmp.execute('qom-set', { path, property: 'drive', value: node });
    }
    await this.#qmp.execute('cont');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }
}
