import { join } from 'node:path';
import { cancelled } from '../../errors.ts';
import type { BackendCallOptions, BackendVm, SnapshotManifest } from '../../vm/backend.ts';
import { captureRunning } from './capture-running.ts';
import { boundLayers, exportSnapshot, freezeDiskOff } from './freeze-disk.ts';
import type { RunningMachine } from './guest-power.ts';
import { exportMemory, type KeptMemory } from './memory-files.ts';
import { readRunRecord, updateRunRecord } from './run-record.ts';
import { MiB } from './sizes.ts';
import { snapshotManifest } from './snapshot-manifest.ts';
import type { VmParts } from './vm-parts.ts';

type SnapshotRequest = Parameters<BackendVm['snapshot']>[0];

/** See {@link BackendVm.snapshot}. */
export async function snapshotVm(
  vm: VmParts,
  request: SnapshotRequest,
  options: BackendCallOptions,
): Promise<SnapshotManifest> {
  const { context, files, machine } = vm;
  const { signal } = options;
  const what = `the snapshot of ${files.places.id}`;
  if (signal?.aborted) throw cancelled(what, signal);
  const host = await context.host(options);
  const { running } = machine;
  try {
    const memory = running
      ? await captureMachine(vm, running, request, options)
      : await freezeOff(vm, request.memory);
    options.onProgress?.('keeping the layers');
    await boundLayers(files, running?.machine, host.programs.img, signal);
    const written = {
      ...(await exportSnapshot(files, request.dir, { durability: request.durability, signal })),
      ...(memory && (await exportMemory(memory, request.dir))),
    };
    return snapshotManifest(vm.request, host.qemu.text, written, memory?.facts);
  } catch (error) {
    throw signal?.aborted ? cancelled(what, signal) : error;
  }
}

async function freezeOff(
  { files, machine }: VmParts,
  memory: SnapshotRequest['memory'],
): Promise<KeptMemory | undefined> {
  await machine.cleared();
  await files.takeBackStart();
  await freezeDiskOff(files);
  return memory === 'include' ? files.kept() : undefined;
}

/** @returns the memory, written into the snapshot's directory as far as it is new */
async function captureMachine(
  { context, files, request: { shape } }: VmParts,
  running: RunningMachine,
  request: SnapshotRequest,
  options: BackendCallOptions,
): Promise<KeptMemory | undefined> {
  options.onProgress?.('freezing the machine');
  const captured = await captureRunning(context, running, {
    disk: files,
    ramBytes: request.memory === 'include' ? shape.memoryMiB * MiB : undefined,
    spillPath: join(request.dir, 'capture.spill'),
    afterwards: 'goes on',
    ...options,
  });
  if (!captured.memory) return undefined;
  await using pages = captured.memory;
  options.onProgress?.('writing what changed in memory');
  const { runPath } = running.machine.places;
  const { lastLayer } = readRunRecord(runPath) ?? {};
  const kept = await pages.write(request.dir, files.layersBelow(request.parent, lastLayer), options.signal);
  updateRunRecord(runPath, { lastLayer: kept.layers.at(-1)?.digest.sha256 ?? null });
  await context.at('capture.written');
  return kept;
}
