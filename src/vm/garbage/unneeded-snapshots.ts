import { isAlcoveError } from '../../errors.ts';
import { snapshotRef } from '../ids.ts';
import { neededBy, removeRecord } from '../remove-snapshot.ts';
import { type RuntimeContext, snapshotDir } from '../runtime-context.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import { requireFiles } from '../snapshot-source.ts';
import type { Garbage } from './garbage.ts';

/**
 * Snapshots that were kept only as long as something needed them, and those whose files are damaged; newest first, so that one that
 * builds on another goes before it. One that a user keeps is never among them while it is whole.
 */
export async function unneededSnapshots(
  context: RuntimeContext,
): Promise<{ uid: string; garbage: Garbage }[]> {
  const gone = new Set<string>();
  const found: { uid: string; garbage: Garbage }[] = [];
  const candidates = context.snapshots.all().filter(({ lifetime }) => lifetime !== 'kept');
  for (const record of candidates.reverse()) {
    const { uid, vmId, id } = record;
    const why = isNeeded(context, record, gone) ? undefined : await whyUnneeded(context, record);
    if (why === undefined) continue;
    gone.add(uid);
    found.push({
      uid,
      garbage: {
        kind: 'snapshot',
        name: snapshotRef(vmId, id),
        why,
        paths: [snapshotDir(context, uid)],
        remove: async () => {
          await context.spares.letGo(uid);
          if ((await whyUnneeded(context, record)) === undefined) return { stays: 'its files are back' };
          const now = context.snapshots.byUid(uid);
          if (!now) return 'removed'; // By somebody else.
          const needers = neededBy(context, now);
          if (needers.length > 0) return { stays: `${needers.join(', ')} needs it` };
          // No `await` between the look at who needs it and its end.
          await removeRecord(context, now);
          return 'removed';
        },
      },
    });
  }
  return found;
}

/** As {@link neededBy}, where those that go with it do not count. */
function isNeeded(context: RuntimeContext, { uid }: SnapshotRecord, gone: ReadonlySet<string>): boolean {
  return (
    context.snapshots.dependants(uid).some((dependant) => !gone.has(dependant.uid)) ||
    context.vms.usersOfSnapshot(uid).length > 0 ||
    context.pins.has(uid)
  );
}

/** `undefined` for one whose files are back, or cannot be looked at: it may be whole. */
async function whyUnneeded(context: RuntimeContext, record: SnapshotRecord): Promise<string | undefined> {
  if (record.lifetime === 'ephemeral') return 'what was made from it is gone';
  try {
    await requireFiles(context, record);
    return undefined;
  } catch (error) {
    if (!isAlcoveError(error, 'SnapshotCorrupt')) return undefined;
    return `its files are damaged: ${String(error.details?.file)}`;
  }
}
