import type { Clock } from '../../host/index.ts';
import type { ConsoleLog } from './console-log.ts';
import { removeTop } from './disk-layers.ts';
import { Machine } from './machine.ts';
import { diskDevice, layerFile, layerNode } from './machine-args.ts';
import { queryRunState, queryTopNode } from './qmp-commands.ts';
import { readRunRecord } from './run-record.ts';
import type { DiskOwner } from './snapshot-vm.ts';
import { sweep, vmProcesses } from './sweep.ts';

/** For the monitor of a process that was left alone to answer. */
const answerMs = 5000;

/**
 * Looks for the machine of a VM after a restart of the engine. One that was set up is taken over; one that was still
 * booting, has ended, or does not answer on its monitor is ended and cleared away.
 *
 * @returns `undefined` when the VM is off
 */
export async function recoverMachine(
  owner: DiskOwner,
  console: ConsoleLog,
  clock: Clock,
): Promise<Machine | undefined> {
  const { places } = owner;
  const run = readRunRecord(places.runPath);
  const [process, ...others] = vmProcesses(places);
  if (process && others.length === 0 && run?.phase === 'ready') {
    const machine = await Machine.connect({ process, places, console, clock, timeoutMs: answerMs }).catch(
      () => undefined, // It does not answer: it is of no use to anybody, and is ended below.
    );
    const state = machine && (await queryRunState(machine.qmp).catch(() => undefined));
    if (machine && (state === 'running' || state === 'paused')) {
      await agreeOnTop(owner, machine);
      return machine;
    }
    await machine?.finish(); // Keeps the console of a guest that ended while nobody looked.
  }
  await sweep(places, clock);
  return undefined;
}

/** A crash between writing down a new top and QEMU's change to it leaves QEMU on the one before: then that is the top. */
async function agreeOnTop(owner: DiskOwner, machine: Machine): Promise<void> {
  const { disk, places } = owner;
  const node = await queryTopNode(machine.qmp, diskDevice);
  const before = disk.top - 1;
  if (node !== layerNode(before) || disk.layers.at(-1)?.file !== layerFile(before)) return;
  // The new layer may be open in QEMU without being used.
  await machine.qmp.execute('blockdev-del', { 'node-name': layerNode(disk.top) }).catch(() => undefined);
  await machine.qmp
    .execute('blockdev-del', { 'node-name': `${layerNode(disk.top)}-file` })
    .catch(() => undefined);
  await owner.setDisk({ ...disk, layers: disk.layers.slice(0, -1), top: before });
  await removeTop(places.jail, disk);
}
