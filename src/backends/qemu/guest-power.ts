import type { Clock } from '../../host/index.ts';
import { abandonable, type GuestLine } from './guest-line.ts';
import type { Machine } from './machine.ts';
import { queryRunState } from './qmp-commands.ts';

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
export async function shutDownGuest(running: RunningMachine, graceMs: number, clock: Clock): Promise<void> {
  const { machine, line } = running;
  if (graceMs <= 0) return;
  const paused = (await queryRunState(machine.qmp)) === 'paused';
  if (paused) await machine.qmp.execute('cont');
  const late = new AbortController();
  const stopTimer = clock.timer(graceMs + powerOffMs, () => late.abort(new Error('no time left')));
  try {
    const asking = ask(line, paused ? 'frozen' : 'going', graceMs, late.signal);
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
  line: GuestLine,
  state: 'frozen' | 'going',
  graceMs: number,
  signal: AbortSignal,
): Promise<void> {
  const guest = await line.channel(signal);
  if (state === 'frozen') await guest.thaw({ signal });
  await guest.shutdown({ graceMs, signal });
}

/**
 * Pauses a machine with its guest's file systems flushed and frozen. They stay so for as long as it is paused (its own time
 * stands still, so it does not thaw itself): a snapshot of the paused machine has a clean disk.
 */
export async function pauseMachine({ machine, line }: RunningMachine, signal?: AbortSignal): Promise<void> {
  const guest = await line.channel(signal);
  await guest.freeze(signal ? { signal } : {});
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
  clock: Clock,
  signal?: AbortSignal,
): Promise<void> {
  const options = signal ? { signal } : {};
  await machine.qmp.execute('cont');
  const guest = await line.channel(signal);
  await guest.thaw(options);
  await guest.setClock(clock.now(), options);
}
