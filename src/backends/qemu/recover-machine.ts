import { AlcoveError } from '../../errors.ts';
import { type Clock, isAlive, type ProcessIdentity } from '../../host/index.ts';
import type { ConsoleLog } from './console-log.ts';
import { removeTop } from './disk-layers.ts';
import { waitForEnd } from './end-process.ts';
import type { DiskOwner } from './freeze-disk.ts';
import { endingMs, Machine } from './machine.ts';
import { diskDevice, layerNode } from './machine-args.ts';
import { indexOf } from './merge-disk.ts';
import { type QmpRunState, queryRunState, queryTopNode } from './qmp-commands.ts';
import { readRunRecord } from './run-record.ts';
import { machineProcesses, sweep } from './sweep.ts';
import type { MachinePlaces } from './vm-places.ts';

/** For the monitor of a process that was left alone to answer. */
const answerMs = 5000;

/**
 * Looks for the machine of a VM after a restart of the engine. One that was set up is taken over; one that was still
 * booting, has ended, or can never be controlled again is ended and cleared away. One that is only silent, as on a host
 * with no time for it, runs on.
 *
 * @returns `undefined` when the VM is off
 * @throws AlcoveError `VmFailed` when its process runs and does not answer; the next try may find it well
 */
export async function recoverMachine(
  owner: DiskOwner,
  places: MachinePlaces,
  console: ConsoleLog,
  clock: Clock,
): Promise<Machine | undefined> {
  const run = readRunRecord(places.runPath);
  const [process, ...others] = machineProcesses(places);
  if (process && others.length === 0 && run?.phase === 'ready') {
    const machine = await connect(process, places, console, clock);
    const state = machine && (await stateOf(machine, places, clock));
    if (machine && (state === 'running' || state === 'paused')) {
      try {
        await agreeOnTop(owner, machine);
      } catch (error) {
        await machine.release(); // QEMU hears one client at a time: kept open, this one would shut the next out.
        throw error;
      }
      return machine;
    }
    await machine?.finish(); // Keeps the console of a guest that ended while nobody looked.
  }
  await sweep(places, clock);
  return undefined;
}

/** @returns `undefined` when the process has ended, or nobody can ever connect to it again */
async function connect(
  process: ProcessIdentity,
  places: MachinePlaces,
  console: ConsoleLog,
  clock: Clock,
): Promise<Machine | undefined> {
  try {
    return await Machine.connect({ process, places, console, clock, timeoutMs: answerMs });
  } catch (cause) {
    if (!isAlive(process) || socketIsGone(cause)) return undefined;
    throw silent(process, places.name, cause);
  }
}

/** @returns `undefined` when the process has ended */
async function stateOf(
  machine: Machine,
  places: MachinePlaces,
  clock: Clock,
): Promise<QmpRunState | undefined> {
  try {
    return await queryRunState(machine.qmp);
  } catch (cause) {
    if (await waitForEnd(machine.process, endingMs, clock)) return undefined;
    await machine.release();
    throw silent(machine.process, places.name, cause);
  }
}

/** No such file, or nobody behind it. Too many who wait to be heard (`EAGAIN`) are another matter. */
function socketIsGone(error: unknown): boolean {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
  return [code, cause?.code].some((errno) => errno === 'ENOENT' || errno === 'ECONNREFUSED');
}

function silent({ pid }: ProcessIdentity, id: string, cause: unknown): AlcoveError<'VmFailed'> {
  return new AlcoveError(
    'VmFailed',
    `the QEMU process ${pid} of ${id} runs, but does not answer on its monitor`,
    {
      cause,
      remedy:
        'Try again when the host is less busy; or stop the VM, which ends it by force when it stays silent.',
    },
  );
}

/** A crash between writing down a new top and QEMU's change to it leaves QEMU on the one before: then that is the top. */
async function agreeOnTop(owner: DiskOwner, machine: Machine): Promise<void> {
  const { disk, places } = owner;
  const node = await queryTopNode(machine.qmp, diskDevice);
  const last = disk.layers.at(-1);
  const before = last && indexOf(last);
  if (before === undefined || node !== layerNode(before)) return;
  // The new layer may be open in QEMU without being used.
  await machine.qmp.execute('blockdev-del', { 'node-name': layerNode(disk.top) }).catch(() => undefined);
  await machine.qmp
    .execute('blockdev-del', { 'node-name': `${layerNode(disk.top)}-file` })
    .catch(() => undefined);
  await owner.setDisk({ ...disk, layers: disk.layers.slice(0, -1), top: before });
  await removeTop(machine.places.jail, disk);
  await removeTop(places.disk, disk);
}
