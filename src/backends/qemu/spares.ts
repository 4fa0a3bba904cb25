import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlcoveError } from '../../errors.ts';
import { type GuestChannel, runCommand } from '../../guest/index.ts';
import { linkOrCopy } from '../../store/index.ts';
import type { BackendCallOptions, SpareKey, SpareMaker, SpareRequest } from '../../vm/backend.ts';
import { blankDisk } from './blank-disk.ts';
import { ConsoleLog } from './console-log.ts';
import type { QemuContext } from './context.ts';
import { loadDeviceState } from './device-state.ts';
import { makeTop } from './disk-layers.ts';
import { Machine } from './machine.ts';
import { diskSerial, imageSerial, layerFile } from './machine-args.ts';
import { type Attempt, attempt } from './machine-attempt.ts';
import type { Drives } from './machine-drives.ts';
import { type KeptMemory, pagesFile, snapshotMemory } from './memory-files.ts';
import { newMac } from './new-mac.ts';
import type { QemuVm } from './qemu-vm.ts';
import { queryRunState } from './qmp-commands.ts';
import { rehearsalDrives } from './rehearsal.ts';
import { readRunRecord, updateRunRecord } from './run-record.ts';
import { MiB } from './sizes.ts';
import {
  QemuSpare,
  readSpareRecord,
  type SpareRecord,
  spareDiskDir,
  spareMemoryDir,
  spareRecordFile,
  spareTop,
} from './spare.ts';
import { imageKey, memoryKey, shapeKey } from './spare-keys.ts';
import { makeMachineDir } from './spawn-qemu.ts';
import { introduce, networkOf, spawnFrom } from './start-machine.ts';
import { machineIn, machineProcesses, sweep } from './sweep.ts';
import { type MachinePlaces, machinePlaces } from './vm-places.ts';
import type { DiskRecord } from './vm-record.ts';

/** For the monitor of a spare that was left alone to answer. */
const answerMs = 2000;
/** Before the drives of a rehearsal, which lie beside those of the VM that comes later. */
const rehearsalPrefix = 'rehearsal';

/** Makes machines ahead of need; see {@link SpareMaker} for what each call promises. */
export class QemuSpares implements SpareMaker {
  readonly #context: QemuContext;

  constructor(context: QemuContext) {
    this.#context = context;
  }

  keysFor(vm: QemuVm): readonly SpareKey[] {
    return vm.spareKeys;
  }

  async make(request: SpareRequest, options: BackendCallOptions = {}): Promise<QemuSpare> {
    const { bootTimeoutMs: timeoutMs, clock, connector, stateDir } = this.#context;
    const { dir, id, kind, shape } = request;
    const places = machinePlaces(stateDir, spareName(id), dir);
    const console = ConsoleLog.empty(join(dir, 'console.log'));
    const what = `making a machine ahead of need, for ${kindsInWords[kind]}`;
    return attempt({ what, places, console, clock, connector, timeoutMs }, options, async (a) => {
      const made = await this.#bringUp(request, places, a);
      const record: SpareRecord = {
        version: 1,
        key: keyOf(request),
        kind,
        cpus: shape.cpus,
        memoryMiB: shape.memoryMiB,
        layers: made.memory.layers.map(({ digest }) => digest),
        facts: { ...made.memory.facts },
        mac: made.mac,
      };
      await writeFile(join(dir, spareRecordFile), JSON.stringify(record));
      updateRunRecord(places.runPath, { phase: 'spare' });
      return new QemuSpare(id, record, made.machine, made.channel, clock);
    });
  }

  async recover({ id, dir }: { id: string; dir: string }): Promise<QemuSpare | undefined> {
    const { clock, stateDir, uids } = this.#context;
    const places = machineIn(stateDir, dir, spareName(id));
    const record = readSpareRecord(dir);
    const run = readRunRecord(places.runPath);
    const [process, ...others] = machineProcesses(places);
    if (record && run?.phase === 'spare' && process && others.length === 0) {
      const console = ConsoleLog.load(join(dir, 'console.log'));
      const machine = await Machine.connect({ process, places, console, clock, timeoutMs: answerMs }).catch(
        () => undefined,
      );
      const state = machine && (await queryRunState(machine.qmp).catch(() => undefined));
      if (machine && (state === 'paused' || state === 'other')) {
        uids.hold(run.uid);
        void machine.gone.then(() => uids.give(run.uid));
        return new QemuSpare(id, record, machine, undefined, clock);
      }
      await machine?.release();
    }
    await sweep(places, clock); // There is nothing in it that cannot be made again.
    return undefined;
  }

  async #bringUp(request: SpareRequest, places: MachinePlaces, a: Attempt): Promise<BroughtUp> {
    const { clock, templates } = this.#context;
    const { shape } = request;
    makeMachineDir(places);
    if (request.kind === 'memory') {
      const memory = snapshotMemory(request.snapshot.dir, request.snapshot.manifest);
      if (!memory) throw new Error(`the snapshot in ${request.snapshot.dir} has no memory`);
      const machine = await spawnFrom(this.#context, a, { places, shape, memory });
      await linkLayers(memory, join(places.dir, spareMemoryDir));
      return { machine, memory, channel: undefined, mac: null };
    }
    using template = await templates.hold(shape, { signal: a.ending });
    const { memory } = template;
    const kind = request.kind === 'image' ? imageSpare(this.#context, request) : shapeSpare(this.#context);
    const machine = await spawnFrom(this.#context, a, {
      places,
      shape,
      memory,
      drives: await kind.drives(places),
      drivePrefix: kind.prefix,
    });
    await loadDeviceState(machine.qmp, clock, a.ending);
    await machine.qmp.execute('cont');
    const channel = await a.connect('stale');
    const mac = await kind.prepare(channel, a.ending);
    await machine.qmp.execute('stop');
    await linkLayers(memory, join(places.dir, spareMemoryDir));
    return { machine, memory, channel, mac };
  }
}

interface BroughtUp {
  machine: Machine;
  memory: KeptMemory;
  channel: GuestChannel | undefined;
  mac: string | null;
}

/** How the spares that run a guest differ. */
interface GuestSpare {
  prefix: string;
  drives(places: MachinePlaces): Promise<Drives>;
  /** @returns the MAC address that its guest was given */
  prepare(channel: GuestChannel, signal: AbortSignal): Promise<string | null>;
}

/** Has no root yet; has done once what a start does, on drives that go away, so that all of it is translated. */
function shapeSpare({ files }: QemuContext): GuestSpare {
  return {
    prefix: rehearsalPrefix,
    drives: (places) => rehearsalDrives(files, join(places.dir, 'rehearsal')),
    async prepare(channel, signal) {
      await channel.rehearse({ lowerSerial: imageSerial, upperSerial: diskSerial }, { signal });
      return null;
    },
  };
}

/** Has its root mounted, on a disk of its own. */
function imageSpare(context: QemuContext, { image, shape }: SpareRequest & { kind: 'image' }): GuestSpare {
  const mac = shape.network === 'user' ? newMac() : null;
  return {
    prefix: '',
    async drives(places) {
      const diskDir = join(places.dir, spareDiskDir);
      const blank = await blankDisk(context.files, shape.diskMiB);
      await mkdir(diskDir, { recursive: true });
      const disk: DiskRecord = {
        virtualBytes: shape.diskMiB * MiB,
        layers: [{ file: layerFile(0), digest: null }],
        top: spareTop,
        content: 'changed',
      };
      await linkOrCopy(blank, join(diskDir, layerFile(0)));
      await makeTop(diskDir, disk, undefined);
      return { diskDir, disk, imagePath: image.rootfsPath };
    },
    async prepare(channel, signal) {
      const network = mac === null ? undefined : networkOf({}, shape, mac);
      const person = (hostname: string) => ({
        hostname,
        machineId: randomBytes(16).toString('hex'),
        network,
      });
      await introduce(context, channel, 'new', person('spare'), signal);
      await channel.rehearse({}, { signal });
      await introduce(context, channel, 'set up', person('another'), signal); // As the VM that takes it will be.
      for (let round = 0; round < practiceRounds; round++) await practise(channel, signal);
      return mac;
    },
  };
}

/** The second round still translates some code, a third hardly any. */
const practiceRounds = 2;

/**
 * Runs the one program that most images have and that does nothing: how programs are found in the image, loaded and read is then
 * translated too. An image without it has learned at least how to look.
 */
async function practise(channel: GuestChannel, signal: AbortSignal): Promise<void> {
  await runCommand(channel, { command: ['true'], timeoutMs: 5000, signal }).catch((error: unknown) => {
    if (!isAlcoveError(error, 'CommandNotStarted')) throw error;
  });
}

const kindsInWords = {
  shape: 'any image',
  image: 'one image',
  memory: 'copies of one snapshot',
} as const satisfies Record<SpareRequest['kind'], string>;

/** A name that no VM's id can be. */
function spareName(id: string): string {
  return `spare_${id}`;
}

async function linkLayers({ layers }: KeptMemory, dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { mode: 0o700 });
  await Promise.all(layers.map(({ path }, index) => linkOrCopy(path, join(dir, pagesFile(index)))));
}

function keyOf(request: SpareRequest): SpareKey {
  switch (request.kind) {
    case 'shape':
      return shapeKey(request.shape);
    case 'image':
      return imageKey(request.shape, request.image.digest);
    case 'memory': {
      const memory = snapshotMemory(request.snapshot.dir, request.snapshot.manifest);
      return memoryKey(request.shape, memory ? [...memory.layers, memory.device] : []);
    }
  }
}
