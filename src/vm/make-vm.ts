import { mkdir, rm } from 'node:fs/promises';
import { AlcoveError } from '../errors.ts';
import { storageError, syncPath } from '../store/index.ts';
import type { BackendCallOptions, BackendVm, CreateRequest, VmBackend } from './backend.ts';
import { flightOptions } from './call-options.ts';
import { generateId, hex, snapshotRef } from './ids.ts';
import { beginJournal, type RuntimeContext, requireCapability, vmDir } from './runtime-context.ts';
import { sourceOf, usingSnapshot } from './snapshot-source.ts';
import { ensureIntact } from './verify-snapshot.ts';
import type { RestoreSpec, SnapshotRef, VmSpec } from './vm.ts';
import type { VmBlueprint, VmIdentity, VmRecord } from './vm-records.ts';
import { checkKernelFiles, checkRestoreSpec, checkVmSpec } from './vm-spec.ts';

/** Makes a VM from an image. */
export async function createVm(
  context: RuntimeContext,
  spec: VmSpec,
  options: BackendCallOptions,
): Promise<VmRecord> {
  const checked = checkVmSpec(spec, context.host);
  const id = checked.id ?? generateId('vm', context.random);
  const backend = context.backends.default;
  return inNewVm(context, id, checked, options, async () => {
    await checkKernelFiles(checked.kernel);
    const capabilities = await context.backends.capabilities(backend);
    if (checked.network === 'user') requireCapability(backend, capabilities, 'userNetwork');
    const imageOptions = flightOptions(options);
    const image = await context.images.resolve(checked.image, imageOptions);
    using _inUse = context.pins.hold(image.digest);
    const kernel = await context.kernels.resolve(checked.kernel, imageOptions);
    using _kernel = context.pins.hold(kernel.kernelDigest);
    using _initramfs = context.pins.hold(kernel.initramfsDigest);
    const { cpus, memoryMiB, diskMiB, network, bootArgs } = checked;
    const blueprint: VmBlueprint = {
      image: { reference: checked.image, digest: image.digest },
      imageConfig: image.config,
      shape: { cpus, memoryMiB, diskMiB, network, kernel, bootArgs },
      env: checked.env,
    };
    const identity = newIdentity(context, checked.labels);
    return make(context, id, backend, blueprint, identity, image.rootfsPath, (request) =>
      backend.create(request, options),
    );
  });
}

/** Makes a VM from a snapshot, of any age and of any VM, also one that is gone. */
export async function restoreVm(
  context: RuntimeContext,
  ref: SnapshotRef,
  spec: RestoreSpec,
  options: BackendCallOptions,
): Promise<VmRecord> {
  const checked = checkRestoreSpec(spec);
  const id = checked.id ?? generateId('vm', context.random);
  return usingSnapshot(context, ref, async (snapshot) => {
    const { shape, image: imageName, imageConfig, env } = snapshot.blueprint;
    return inNewVm(context, id, shape, options, async () => {
      const backend = backendOfSnapshot(context, ref, snapshot.manifest.backend);
      const capabilities = await context.backends.capabilities(backend);
      if (shape.network === 'user') requireCapability(backend, capabilities, 'userNetwork');
      const image = await context.images.resolve(imageName.digest, flightOptions(options));
      using _inUse = context.pins.hold(image.digest);
      await ensureIntact(context, snapshot, options);
      const source = sourceOf(context, snapshot);
      const blueprint: VmBlueprint = {
        image: imageName,
        imageConfig,
        shape,
        env: { ...env, ...checked.env },
      };
      const identity: VmIdentity = {
        ...newIdentity(context, checked.labels),
        from: { uid: snapshot.uid, ref: snapshotRef(snapshot.vmId, snapshot.id) },
      };
      return make(context, id, backend, blueprint, identity, image.rootfsPath, (request) =>
        backend.restore({ ...request, snapshot: source, memory: checked.memory }, options),
      );
    });
  });
}

/** Claims the id and room for a VM that is about to be made, and gives the room back when it is not. */
async function inNewVm(
  context: RuntimeContext,
  id: string,
  room: { diskMiB: number; memoryMiB: number },
  options: BackendCallOptions,
  work: () => Promise<VmRecord>,
): Promise<VmRecord> {
  return context.lanes.run(
    id,
    `making VM ${id}`,
    async () => {
      if (context.vms.find(id)) {
        throw new AlcoveError('VmAlreadyExists', `there is a VM ${id} already`, { details: { vmId: id } });
      }
      context.admission.takeVm(id, room);
      try {
        return await work();
      } catch (error) {
        context.admission.releaseVm(id);
        throw error;
      }
    },
    options.signal,
  );
}

/** Intent, directory, the backend's work, sync, row: in this order, and all of it undone when one of them fails. */
async function make(
  context: RuntimeContext,
  id: string,
  backend: VmBackend,
  blueprint: VmBlueprint,
  identity: VmIdentity,
  rootfsPath: string,
  work: (request: CreateRequest) => Promise<BackendVm>,
): Promise<VmRecord> {
  const dir = vmDir(context, id);
  const seq = await beginJournal(context, { op: 'create', vmId: id, backend: backend.name });
  let vm: BackendVm | undefined;
  try {
    await sweepEarlier(context, id, dir, seq);
    await mkdir(dir, { mode: 0o700 });
    const { image, shape } = blueprint;
    vm = await work({ id, dir, shape, image: { digest: image.digest, rootfsPath } });
    await context.at('create.made');
    await syncPath(dir);
    await syncPath(context.places.vmsDir);
    await context.at('create.synced');
    const now = context.clock.now();
    const record: VmRecord = {
      ...blueprint,
      ...identity,
      id,
      status: 'created',
      reason: undefined,
      backend: backend.name,
      handle: vm.handle,
      lineUid: identity.from?.uid,
      createdAtMs: now,
      changedAtMs: now,
    };
    context.database.transact(() => {
      context.vms.insert(record);
      context.journal.end(seq);
    });
    context.machines.of(id).adopt(vm);
    await context.at('create.committed');
    return record;
  } catch (error) {
    await undo(context, { id, dir, seq, backend, vm });
    throw storageError(dir, error);
  }
}

/** Removes what an earlier VM of this id left that was not made and could not be taken back then. */
async function sweepEarlier(context: RuntimeContext, id: string, dir: string, seq: number): Promise<void> {
  const earlier = context.journal.entriesOf(id).filter((entry) => entry.seq !== seq);
  if (earlier.length === 0) return;
  for (const backend of context.backends.all) await backend.reap({ id, dir });
  await rm(dir, { recursive: true, force: true });
  for (const entry of earlier) context.journal.end(entry.seq);
}

/** Takes back a VM that was not finished. What cannot be taken back now stays in the journal for later. */
async function undo(
  context: RuntimeContext,
  made: { id: string; dir: string; seq: number; backend: VmBackend; vm: BackendVm | undefined },
): Promise<void> {
  try {
    if (made.vm) await made.vm.destroy();
    await made.backend.reap({ id: made.id, dir: made.dir });
    await rm(made.dir, { recursive: true, force: true });
    context.journal.end(made.seq);
  } catch (error) {
    context.warn(`could not clean up after VM ${made.id}, which was not made: ${(error as Error).message}`);
  }
}

function newIdentity(context: RuntimeContext, labels: Record<string, string>): VmIdentity {
  return { labels, machineId: hex(context.random(16)) };
}

function backendOfSnapshot(context: RuntimeContext, ref: SnapshotRef, name: string): VmBackend {
  const backend = context.backends.all.find((candidate) => candidate.name === name);
  if (backend) return backend;
  const found = context.backends.all.map((candidate) => candidate.name).join(', ');
  throw new AlcoveError('SnapshotIncompatible', `snapshot ${ref} needs the ${name} backend`, {
    details: { fact: 'backend', expected: name, found },
  });
}
