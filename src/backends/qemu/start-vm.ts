import type { BackendCallOptions, StartRequest } from '../../vm/backend.ts';
import { ConsoleLog } from './console-log.ts';
import { machineFacts } from './machine-facts.ts';
import type { KeptMemory } from './memory-files.ts';
import { QemuSpare } from './spare.ts';
import { networkOf, type Origin, type StartedMachine, startMachine } from './start-machine.ts';
import { takeOverSpare } from './take-over-spare.ts';
import type { VmParts } from './vm-parts.ts';
import { machinePlaces } from './vm-places.ts';

/** How a machine is brought up: what was asked for, where its console goes, and the memory to go on from, if any is kept. */
interface Start {
  request: StartRequest;
  console: ConsoleLog;
  kept: KeptMemory | undefined;
}

/** See {@link BackendVm.start}. One that fails leaves disk and memory as they were. */
export async function startVm(
  vm: VmParts,
  request: StartRequest,
  options: BackendCallOptions,
): Promise<void> {
  const { files, machine } = vm;
  await machine.cleared();
  await files.takeBackStart();
  await files.check();
  const start: Start = {
    request,
    console: ConsoleLog.empty(files.places.consolePath),
    kept: files.kept(),
  };
  const spare = usable(vm, request.spare);
  try {
    const started = spare ? await takeOver(vm, spare, start, options) : await startAlone(vm, start, options);
    machine.attach(started, start.console);
    await files.useUpMemory();
  } catch (error) {
    await machine.fail(error); // It may have come up, and its record not: what it did goes with the top of its disk.
    await files.takeBackStart();
    throw error;
  }
}

/** A spare that is for something else, or of another backend, is of no use. */
function usable({ files }: VmParts, spare: StartRequest['spare']): QemuSpare | undefined {
  return spare instanceof QemuSpare && files.spareKeys.includes(spare.key) ? spare : undefined;
}

async function startAlone(vm: VmParts, start: Start, options: BackendCallOptions): Promise<StartedMachine> {
  if (start.kept) return startFrom(vm, await keptOrigin(vm, start.kept), start, options);
  // What it links of the template becomes what later snapshots of this run build on.
  using template = await vm.context.templates.hold(vm.request.shape, options);
  return await startFrom(vm, { memory: template.memory, guest: 'new' }, start, options);
}

function startFrom(
  { context, files, request: { shape } }: VmParts,
  origin: Origin,
  { console, request }: Start,
  options: BackendCallOptions,
): Promise<StartedMachine> {
  const { id, machineDir } = files.places;
  return startMachine(
    context,
    {
      what: `starting ${id}`,
      places: machinePlaces(context.stateDir, id, machineDir),
      shape,
      console,
      origin,
      drives: files.drives,
      person: { ...request, network: networkOf(request, shape, files.record.mac) },
      commit: () => files.commitStart(origin),
    },
    options,
  );
}

async function takeOver(
  vm: VmParts,
  spare: QemuSpare,
  { console, kept, request }: Start,
  options: BackendCallOptions,
): Promise<StartedMachine> {
  const { context, files } = vm;
  if (kept) await keptOrigin(vm, kept);
  const mac = spare.record.mac ?? files.record.mac;
  options.onProgress?.('taking a warm machine');
  const started = await takeOverSpare(
    context,
    {
      what: `starting ${files.places.id}`,
      vm: files.places,
      console,
      spare,
      drives: files.drives,
      person: { ...request, network: networkOf(request, vm.request.shape, mac) },
      commit: (origin) => files.commitStart(origin, mac),
    },
    options,
  );
  if (spare.kind === 'image') await files.removeFirstTop();
  return started;
}

/** Makes sure that the kept memory is whole and fits, and gives the disk a top of its own. */
async function keptOrigin({ context, files, request }: VmParts, kept: KeptMemory): Promise<Origin> {
  const [host, { accelerator }] = await Promise.all([context.host(), context.accelerator(request.shape)]);
  const facts = machineFacts(request.shape, accelerator, host.qemu);
  return { memory: await files.beginFrom(kept, facts), guest: 'sealed' };
}
