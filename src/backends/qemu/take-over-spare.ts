import { link, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { storageError } from '../../store/index.ts';
import type { BackendCallOptions } from '../../vm/backend.ts';
import type { ConsoleLog } from './console-log.ts';
import type { QemuContext } from './context.ts';
import { loadDeviceState } from './device-state.ts';
import { layerFile } from './machine-args.ts';
import { attempt } from './machine-attempt.ts';
import { attachDrives, type Drives, linkDrives } from './machine-drives.ts';
import { type KeptMemory, pagesFile } from './memory-files.ts';
import { readRunRecord, updateRunRecord } from './run-record.ts';
import { type QemuSpare, spareDiskDir, spareMemoryDir, spareTop } from './spare.ts';
import { type GuestPerson, type Origin, type StartedMachine, wake } from './start-machine.ts';
import { sweep } from './sweep.ts';
import { machinePlaces, type VmPlaces } from './vm-places.ts';

export interface TakeOverRequest {
  what: string;
  vm: VmPlaces;
  console: ConsoleLog;
  spare: QemuSpare;
  /** What its guest is to find behind its devices; a spare of an image has that already. */
  drives: Drives;
  person: GuestPerson;
  /** Makes durable, before the guest goes on, what the VM is from then on. */
  commit: (origin: Origin) => Promise<void>;
}

/**
 * Makes a spare's machine a VM's: its directory first, so that from then on it is found there, whatever happens. Whole or not at
 * all, as {@link startMachine}; the spare is used up either way.
 */
export async function takeOverSpare(
  context: QemuContext,
  request: TakeOverRequest,
  options: BackendCallOptions,
): Promise<StartedMachine> {
  const { bootTimeoutMs: timeoutMs, clock, connector, stateDir } = context;
  const { commit, console, drives, person, spare, vm, what } = request;
  const { kind, machine } = spare;
  const channel = spare.take();
  const places = machinePlaces(stateDir, spare.places.name, vm.machineDir);
  try {
    updateRunRecord(spare.places.runPath, { phase: 'starting' });
    await rm(vm.machineDir, { recursive: true, force: true });
    await rename(spare.places.dir, vm.machineDir);
  } catch (error) {
    await channel?.[Symbol.asyncDispose]();
    await sweep(spare.places, clock);
    throw storageError(vm.machineDir, error);
  }
  machine.moveTo(places, console);
  return attempt({ what, places, console, clock, connector, timeoutMs }, options, async (a) => {
    a.watch(machine);
    if (channel) a.hold(channel);
    if (kind === 'image') {
      await rm(join(vm.disk, layerFile(spareTop)), { force: true }); // Of a start that was taken back.
      await link(join(vm.machineDir, spareDiskDir, layerFile(spareTop)), join(vm.disk, layerFile(spareTop)));
    } else {
      await linkDrives(places.jail, drives, readRunRecord(places.runPath)?.uid ?? undefined);
      await attachDrives(machine.qmp, drives.disk);
    }
    await context.at('start.placed');
    if (kind === 'memory') await loadDeviceState(machine.qmp, clock, a.ending);
    await context.at('start.loaded');
    const origin: Origin = {
      memory: memoryOf(spare, vm.machineDir),
      guest: kind === 'image' ? 'set up' : kind === 'shape' ? 'new' : 'sealed',
    };
    const woken = await wake(context, a, machine, { commit: () => commit(origin), origin, person }, channel);
    return { machine, channel: woken };
  });
}

/** The layers that its RAM is mapped from. */
function memoryOf({ record }: QemuSpare, dir: string): KeptMemory {
  const layers = record.layers.map((digest, index) => ({
    path: join(dir, spareMemoryDir, pagesFile(index)),
    digest,
  }));
  return { layers, device: { path: '', digest: { sizeBytes: 0, sha256: '' } }, facts: record.facts };
}
