import { randomBytes } from 'node:crypto';
import { AlcoveError } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import type { Clock } from '../../host/index.ts';
import type { QemuContext } from './context.ts';
import { abandonable, type GuestLine } from './guest-line.ts';
import type { Machine } from './machine.ts';
import { userNetwork } from './machine-args.ts';
import { queryRunState } from './qmp-commands.ts';
import { readRunRecord, updateRunRecord } from './run-record.ts';

/** A machine that is there, with the way to its guest. */
export interface RunningMachine {
  machine: Machine;
  line: GuestLine;
}

/** A guest that was told to power off gets so long on top of the grace its processes have, in ms. */
const powerOffMs = 10_000;

/**
 * Asks the guest to power off, and waits until it has. A paused one goes on for that long. Rejects when the guest does not
 * help in time; then it is for the caller to end the machine by force.
 */
export async function shutDownGuest(
  running: RunningMachine,
  graceMs: number,
  clock: Clock,
  mac: string,
): Promise<void> {
  const { machine } = running;
  if (graceMs <= 0) return;
  const paused = (await queryRunState(machine.qmp)) === 'paused';
  if (paused) await machine.qmp.execute('cont');
  const late = new AbortController();
  const stopTimer = clock.timer(graceMs + powerOffMs, () => late.abort(new Error('no time left')));
  try {
    const asking = ask(running, paused ? 'frozen' : 'going', { graceMs, clock, mac }, late.signal);
    // The machine may end before the answer has come through; the answer alone does not end it.
    await Promise.race([
      machine.ended,
      asking.then(() => abandonable(machine.ended, 'powering off', late.signal)),
    ]);
  } finally {
    stopTimer();
  }
}

async function ask(
  { machine, line }: RunningMachine,
  state: 'frozen' | 'going',
  { graceMs, clock, mac }: { graceMs: number; clock: Clock; mac: string },
  signal: AbortSignal,
): Promise<void> {
  const guest = await line.channel(signal);
  if (state === 'frozen') await renewGuest(machine, guest, { clock }, mac, signal);
  await guest.shutdown({ graceMs, signal });
}

/**
 * Pauses a machine with its guest's file systems flushed and frozen, and its processes with them. They stay so for as long as it
 * is paused (its own time stands still, so it does not thaw itself): a snapshot of the paused machine has a clean disk, and a copy of
 * its memory begins as somebody else.
 */
export async function pauseMachine({ machine, line }: RunningMachine, signal?: AbortSignal): Promise<void> {
  const guest = await line.channel(signal);
  updateRunRecord(machine.places.runPath, { sealed: true });
  await guest.freeze({ processes: 'freeze', ...(signal && { signal }) });
  try {
    await machine.qmp.execute('stop');
  } catch (error) {
    await guest.thaw().catch(() => undefined); // It thaws by itself.
    throw error;
  }
}

/** Lets a paused machine go on, with its clock right. */
export async function resumeMachine(
  { machine, line }: RunningMachine,
  context: QemuContext,
  mac: string,
  signal?: AbortSignal,
): Promise<void> {
  await machine.qmp.execute('cont');
  await renewGuest(machine, await line.channel(signal), context, mac, signal);
}

/**
 * Lets the guest of a running machine go on when an engine died that had told it to stand still: nobody is left to thaw it, and by
 * itself it goes on only at its deadline, 20 s later.
 */
export async function wakeLeftAlone(
  running: RunningMachine,
  context: QemuContext,
  mac: string,
): Promise<void> {
  const { machine, line } = running;
  if (!readRunRecord(machine.places.runPath)?.sealed) return;
  if ((await queryRunState(machine.qmp)) !== 'running') return; // A paused one is woken when it is resumed.
  await renewGuest(machine, await line.channel(), context, mac, undefined);
}

/** Tells a guest that stood still who it is, on whatever line: after a restart of the engine nothing less lets it go on. */
async function renewGuest(
  { places }: Machine,
  guest: GuestChannel,
  { clock }: Pick<QemuContext, 'clock'>,
  mac: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const identity = readRunRecord(places.runPath)?.identity;
  if (!identity)
    throw new AlcoveError('VmFailed', `it is not on record who the guest of ${places.name} is`, {
      remedy: 'Stop the VM by force, and start it again.',
    });
  const { hostname, machineId, networked } = identity;
  await guest.renew(
    {
      identity: { hostname, machineId },
      unixMs: clock.now(),
      entropy: randomBytes(256),
      ...(networked && { network: { ...userNetwork, dns: [...userNetwork.dns], mac } }),
    },
    signal ? { signal } : {},
  );
  updateRunRecord(places.runPath, { sealed: false });
}
