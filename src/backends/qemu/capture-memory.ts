import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { digestFile, storageError } from '../../store/index.ts';
import type { MemoryAccess } from './context.ts';
import { keepDeviceState, makeStateFile, saveDeviceState, stateFile } from './device-state.ts';
import type { Machine } from './machine.ts';
import {
  differingFrom,
  mergeFrom,
  mergeLayers,
  openLayers,
  type PageRuns,
  prepareCapture,
  writeMemoryLayer,
} from './memory/index.ts';
import { type KeptLayer, type KeptMemory, pagesFile } from './memory-files.ts';
import { prepareRamDump } from './ram-dump.ts';
import { readRunRecord } from './run-record.ts';

/** Tells in a snapshot's record how its RAM was read; nothing depends on it. */
const captureFact = 'capture';

/** What is captured of a machine at one instant and written down after it. */
export interface CapturedMemory extends AsyncDisposable {
  /**
   * Writes a layer of what differs from `below`, and the device state, into `dir`; both synced.
   *
   * @param below layers that this machine's memory builds on, lowest first: those it is mapped from, and possibly those of a later
   * snapshot of the same run
   */
  write(dir: string, below: readonly KeptLayer[], signal?: AbortSignal): Promise<KeptMemory>;
}

/** Everything is ready; `take` is called while the machine stands still. */
export interface PreparedMemoryCapture extends AsyncDisposable {
  take(): Promise<CapturedMemory>;
}

/** Makes ready to capture a machine's memory: everything for which it need not stand still. */
export async function prepareMemoryCapture(
  machine: Machine,
  { ramBytes, spillPath, access }: { ramBytes: number; spillPath: string; access: MemoryAccess },
): Promise<PreparedMemoryCapture> {
  const { places, process, qmp } = machine;
  const run = readRunRecord(places.runPath);
  const uid = run?.uid ?? undefined;
  const capture = (how: 'changed' | 'whole', pages: PageRuns & AsyncDisposable) =>
    new Capture(places.jail, { ...run?.facts, [captureFact]: how }, ramBytes, pages);
  await makeStateFile(places.jail, uid);
  const prepared =
    access !== 'refused' &&
    prepareCapture({ pid: process.pid, ramPath: places.ramPath, ramBytes, spillPath });
  if (!prepared || prepared.kind === 'refused') {
    const dump = await prepareRamDump(machine, uid, ramBytes);
    return {
      async take() {
        await saveDeviceState(qmp);
        return capture('whole', await dump.take());
      },
      [Symbol.asyncDispose]: () => dump[Symbol.asyncDispose](),
    };
  }
  prepared.takeMemory();
  return {
    async take() {
      await saveDeviceState(qmp);
      return capture('changed', prepared.capture());
    },
    async [Symbol.asyncDispose]() {
      prepared[Symbol.dispose]();
    },
  };
}

class Capture implements CapturedMemory {
  readonly #jail: string;
  readonly #facts: Readonly<Record<string, string>>;
  readonly #ramBytes: number;
  readonly #pages: PageRuns & AsyncDisposable;

  constructor(
    jail: string,
    facts: Readonly<Record<string, string>>,
    ramBytes: number,
    pages: PageRuns & AsyncDisposable,
  ) {
    this.#jail = jail;
    this.#facts = facts;
    this.#ramBytes = ramBytes;
    this.#pages = pages;
  }

  async write(dir: string, below: readonly KeptLayer[], signal?: AbortSignal): Promise<KeptMemory> {
    const next = 1 + Math.max(-1, ...below.map((layer) => Number.parseInt(basename(layer.path), 10)));
    const path = join(dir, pagesFile(next));
    try {
      await rm(path, { force: true });
      await keepDeviceState(this.#jail, join(dir, stateFile));
    } catch (error) {
      throw storageError(dir, error);
    }
    await using open = await openLayers(
      below.map((layer) => layer.path),
      this.#ramBytes,
    );
    const digest = await writeMemoryLayer(path, {
      ramBytes: this.#ramBytes,
      pages: differingFrom(this.#pages, open.layers),
      ...(signal && { signal }),
    });
    const layers = [...below, { path, digest }];
    const device = { path: join(dir, stateFile), digest: await digestFile(join(dir, stateFile)) };
    return {
      layers: await this.#bounded(layers, join(dir, pagesFile(next + 1)), signal),
      device,
      facts: this.#facts,
    };
  }

  /** Keeps a stack from getting so high that going on from it takes longer: one layer takes the place of several at its top. */
  async #bounded(layers: KeptLayer[], path: string, signal?: AbortSignal): Promise<KeptLayer[]> {
    const from = mergeFrom(layers.map(({ digest }) => digest.sizeBytes));
    if (from === undefined) return layers;
    const paths = layers.slice(from).map((layer) => layer.path);
    await using open = await openLayers(paths, this.#ramBytes);
    const [first, ...rest] = open.layers;
    if (!first) return layers;
    await rm(path, { force: true });
    const digest = await mergeLayers([first, ...rest], path, signal ? { signal } : {});
    await rm(layers.at(-1)?.path ?? path, { force: true });
    return [...layers.slice(0, from), { path, digest }];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pages[Symbol.asyncDispose]();
  }
}
