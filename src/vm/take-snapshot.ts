import { type Durability, storageError } from '../store/index.ts';
import type { BackendCallOptions, BackendVm, SnapshotManifest } from './backend.ts';
import { onTurn, recordTruth } from './change-status.ts';
import { checkId, generateId, hex, snapshotRef } from './ids.ts';
import {
  attach,
  beginJournal,
  type RuntimeContext,
  requireCapability,
  snapshotDir,
} from './runtime-context.ts';
import type { Seals } from './seals.ts';
import {
  finishSnapshotDir,
  makeSnapshotDir,
  removeSnapshotDir,
  sealSnapshotFiles,
} from './snapshot-files.ts';
import type { SnapshotLifetime, SnapshotRecord } from './snapshot-records.ts';
import type { VmRecord } from './vm-records.ts';
import { checkLabels } from './vm-spec.ts';

export interface SnapshotOptions extends BackendCallOptions {
  /** @default generated */
  id?: string;
  /** Whether memory is kept too, where there is any. @default 'include' where the backend can */
  memory?: 'include' | 'exclude';
  labels?: Record<string, string>;
  /** With `process` it may be damaged after a power cut: for one that goes with the call that it is for. @default 'machine' */
  durability?: Durability;
}

/** A name for a snapshot's directory that no other ever has. */
export function newSnapshotUid(context: RuntimeContext): string {
  return hex(context.random(16));
}

/** Takes a snapshot of a VM in any status it exists in; the VM goes on as before, whatever comes of it. */
export async function takeSnapshot(
  context: RuntimeContext,
  vmId: string,
  options: SnapshotOptions,
  made: { uid: string; lifetime: SnapshotLifetime },
): Promise<SnapshotRecord> {
  const labels = checkLabels(options.labels);
  const id = options.id === undefined ? generateId('s', context.random) : checkId('snapshot id', options.id);
  return onTurn(context, vmId, 'snapshot', options.signal, async ({ record }) => {
    context.snapshots.requireFree(vmId, id);
    const memory = await memoryChoice(context, record, options.memory);
    const parent = record.lineUid === undefined ? undefined : context.snapshots.byUid(record.lineUid);
    // What the new one may build on must not be removed while it is being made.
    using _parent = parent && context.pins.hold(parent.uid);
    return capture(context, record, { ...made, id, labels, memory, parent, options });
  });
}

async function capture(
  context: RuntimeContext,
  vmRecord: VmRecord,
  wanted: {
    uid: string;
    id: string;
    labels: Record<string, string>;
    lifetime: SnapshotLifetime;
    memory: 'include' | 'exclude';
    parent: SnapshotRecord | undefined;
    options: Pick<SnapshotOptions, 'signal' | 'onProgress' | 'durability'>;
  },
): Promise<SnapshotRecord> {
  const { uid, id, labels, lifetime, memory, parent, options } = wanted;
  const { signal, onProgress } = options;
  const dir = snapshotDir(context, uid);
  const seq = await beginJournal(context, { op: 'snapshot', vmId: vmRecord.id, snapshotUid: uid });
  let attached: BackendVm | undefined;
  try {
    const { vm } = await attach(context, vmRecord);
    attached = vm;
    await makeSnapshotDir(dir);
    await context.at('snapshot.directory');
    const manifest = await vm.snapshot(
      {
        dir,
        memory,
        ...(options.durability && { durability: options.durability }),
        ...(parent && { parent: { dir: snapshotDir(context, parent.uid), manifest: parent.manifest } }),
      },
      { ...(signal && { signal }), ...(onProgress && { onProgress }) },
    );
    await context.at('snapshot.captured');
    await finishSnapshotDir(dir, context.places.snapshotsDir, manifest);
    await context.at('snapshot.synced');
    const { image, imageConfig, shape, env, machineId } = vmRecord;
    const record: SnapshotRecord = {
      uid,
      vmId: vmRecord.id,
      id,
      lifetime,
      parentUid: parent?.uid,
      manifest,
      blueprint: { image, imageConfig, shape, env },
      labels,
      machineId,
      seals: {
        ...(await sealSnapshotFiles({ dir, manifest, ref: snapshotRef(vmRecord.id, id) })),
        ...(parent && sharedSeals(manifest, parent)),
      },
      createdAtMs: context.clock.now(),
    };
    context.database.transact(() => {
      context.snapshots.insert(record);
      context.vms.setLine(vmRecord.id, uid);
      context.vms.setHandle(vmRecord.id, vm.handle);
      context.journal.end(seq);
    });
    await context.at('snapshot.committed');
    return record;
  } catch (error) {
    await discard(context, dir, uid);
    await recordTruth(context, vmRecord.id, seq, attached, error);
    throw storageError(dir, error);
  }
}

/** @throws AlcoveError `Unsupported` when memory is asked for by name and the backend cannot keep it */
async function memoryChoice(
  context: RuntimeContext,
  { backend: name }: VmRecord,
  asked: SnapshotOptions['memory'],
): Promise<'include' | 'exclude'> {
  if (asked === 'exclude') return asked;
  const backend = context.backends.named(name);
  const capabilities = await context.backends.capabilities(backend);
  if (asked === 'include') requireCapability(backend, capabilities, 'memorySnapshots');
  return capabilities.memorySnapshots ? 'include' : 'exclude';
}

/**
 * The seals of files that the snapshot before has too: they were not written just now, and one that was damaged since must not be
 * taken for what its digest says.
 */
function sharedSeals({ files }: SnapshotManifest, parent: SnapshotRecord): Seals {
  const names = new Map(Object.entries(parent.manifest.files).map(([name, { sha256 }]) => [sha256, name]));
  return Object.fromEntries(
    Object.entries(files).flatMap(([name, { sha256 }]) => {
      const theirs = names.get(sha256);
      return theirs === undefined ? [] : [[name, parent.seals[theirs]]];
    }),
  );
}

/** Removes the files of a snapshot that failed. What stays is removed at the next start: no row knows it. */
async function discard(context: RuntimeContext, dir: string, uid: string): Promise<void> {
  if (context.snapshots.byUid(uid)) return;
  try {
    await removeSnapshotDir(dir, context.places.snapshotsDir);
  } catch (error) {
    context.warn(`could not remove ${dir}, a snapshot that failed: ${(error as Error).message}`);
  }
}
