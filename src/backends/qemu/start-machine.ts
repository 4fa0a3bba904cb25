import { randomBytes } from 'node:crypto';
import { link, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestChannel, GuestNetwork } from '../../guest/index.ts';
import type { BackendCallOptions, MachineShape, StartRequest } from '../../vm/backend.ts';
import type { ConsoleLog } from './console-log.ts';
import type { QemuContext } from './context.ts';
import { loadDeviceState } from './device-state.ts';
import { imageOf } from './image-ahead.ts';
import type { Machine } from './machine.ts';
import { diskSerial, imageSerial, type MachinePlan, userNetwork } from './machine-args.ts';
import { type Attempt, attempt } from './machine-attempt.ts';
import { type Drives, linkDrives } from './machine-drives.ts';
import type { KeptMemory } from './memory-files.ts';
import { updateRunRecord } from './run-record.ts';
import { makeMachineDir } from './spawn-qemu.ts';
import type { MachinePlaces } from './vm-places.ts';

/** What a machine goes on from. */
export interface Origin {
  memory: KeptMemory;
  /**
   * `new`: a template's guest, which has no root yet; `set up`: a spare's, which has, and no name yet; `sealed`: somebody's, that
   * stood still when it was captured.
   */
  guest: 'new' | 'set up' | 'sealed';
}

/** Who a guest is told to be. */
export interface GuestPerson {
  hostname: string;
  machineId: string;
  network: GuestNetwork | undefined;
}

export interface StartMachineRequest {
  what: string;
  places: MachinePlaces;
  shape: MachineShape;
  console: ConsoleLog;
  origin: Origin;
  drives: Drives;
  person: GuestPerson;
  /** Makes durable, before the guest goes on, that what it goes on from is used up. */
  commit: () => Promise<void>;
}

export interface StartedMachine {
  machine: Machine;
  channel: GuestChannel;
}

/**
 * Starts a machine as a copy of memory that is kept, with drives of its own, and makes its guest somebody. Whole or not at all; see
 * {@link attempt} for errors.
 */
export async function startMachine(
  context: QemuContext,
  request: StartMachineRequest,
  options: BackendCallOptions,
): Promise<StartedMachine> {
  const { bootTimeoutMs: timeoutMs, clock, connector } = context;
  const { console, drives, origin, places, shape, what } = request;
  return attempt({ what, places, console, clock, connector, timeoutMs }, options, async (a) => {
    makeMachineDir(places);
    const machine = await spawnFrom(
      context,
      a,
      { places, shape, memory: origin.memory, drives },
      options.onProgress,
    );
    await context.at('start.placed');
    await loadDeviceState(machine.qmp, clock, a.ending);
    await context.at('start.loaded');
    options.onProgress?.('waking the guest');
    const channel = await wake(context, a, machine, request);
    return { machine, channel };
  });
}

export interface SpawnFromRequest {
  places: MachinePlaces;
  shape: MachineShape;
  memory: KeptMemory;
  /** Without them its drives are empty. */
  drives?: Drives;
  /** See {@link MachinePlan}. */
  drivePrefix?: string;
}

/** Starts QEMU over a memory image, waiting for the state that it was handed. */
export async function spawnFrom(
  context: QemuContext,
  a: Attempt,
  { drivePrefix = '', drives, memory, places, shape }: SpawnFromRequest,
  onProgress?: BackendCallOptions['onProgress'],
): Promise<Machine> {
  const { images, uids } = context;
  const [host, { accelerator }] = await Promise.all([context.host(), context.accelerator(shape)]);
  await using image = await images.get(imageOf(memory, shape));
  onProgress?.('starting QEMU');
  const uid = uids.take(host.uids, places.name);
  a.onUndo(() => uids.give(uid));
  await link(image.path, places.ramPath);
  if (drives) {
    await mkdir(join(places.jail, drivePrefix), { recursive: true, mode: 0o711 });
    await linkDrives(join(places.jail, drivePrefix), drives, uid);
  }
  const plan: MachinePlan = {
    qemu: host.qemu,
    accelerator,
    places,
    shape,
    ram: 'private',
    begin: 'incoming',
    disk: drives?.disk,
    drivePrefix,
    dropTo: uid,
  };
  const machine = await a.spawn(host, plan, memory.device.path);
  void machine.gone.then(() => uids.give(uid));
  return machine;
}

/** Lets the guest of a loaded machine go on, and makes it who it is to be before anything of the user's runs in it. */
export async function wake(
  context: QemuContext,
  a: Attempt,
  machine: Machine,
  { commit, origin, person }: Pick<StartMachineRequest, 'commit' | 'origin' | 'person'>,
  open?: GuestChannel,
): Promise<GuestChannel> {
  const { places } = machine;
  await commit();
  await context.at('start.marked');
  await machine.qmp.execute('cont');
  const channel = open ? a.hold(open) : await a.connect('stale');
  await introduce(context, channel, origin.guest, person, a.ending);
  const { hostname, machineId, network } = person;
  updateRunRecord(places.runPath, {
    phase: 'ready',
    identity: { hostname, machineId, networked: network !== undefined },
  });
  return channel;
}

/** Tells a guest who it is: mounts its root when it has none, and runs its hooks when it had one. */
export async function introduce(
  { clock }: QemuContext,
  channel: GuestChannel,
  guest: Origin['guest'],
  { hostname, machineId, network }: GuestPerson,
  signal: AbortSignal,
): Promise<void> {
  const renewal = {
    identity: { hostname, machineId },
    unixMs: clock.now(),
    entropy: randomBytes(256),
    ...(network && { network }),
  };
  if (guest === 'new') {
    await channel.setup({ lowerSerial: imageSerial, upperSerial: diskSerial, ...renewal }, { signal });
    return;
  }
  const { hooks } = await channel.renew(renewal, { signal });
  if (hooks === 'some' && guest === 'sealed') await channel.runHooks('after-restore', { signal });
}

/** The network of a guest, with an address of its own on it. */
export function networkOf(
  { network }: Pick<StartRequest, 'network'>,
  shape: MachineShape,
  mac: string,
): GuestNetwork | undefined {
  if (shape.network === 'none') return undefined;
  return { ...(network ?? { ...userNetwork, dns: [...userNetwork.dns] }), mac };
}
