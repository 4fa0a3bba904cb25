import { cacheLabel, type ExecutorContext } from './context.ts';
import { releaseSnapshots } from './release-snapshots.ts';

/**
 * Brings the registry and the snapshots together again after an engine that died: drops entries without a snapshot, and lets go of
 * snapshots of actions without an entry. Returns what was mended, in sentences for people.
 */
export async function reconcile(context: ExecutorContext): Promise<string[]> {
  const { registry, runtime, clock } = context;
  const made = new Set(runtime.snapshots.labelled(cacheLabel).map(({ ref }) => ref));
  const mended: string[] = [];
  for (const { key, snapshot } of [...registry.snapshots()].filter(({ snapshot }) => !made.has(snapshot))) {
    registry.invalidate(key, { reason: 'snapshot gone', nowMs: clock.now(), snapshot });
    mended.push(`dropped the cached result ${key}, whose snapshot ${snapshot} is gone`);
  }
  const unknown = [...made].filter((snapshot) => registry.bySnapshot(snapshot) === undefined);
  await releaseSnapshots(context, unknown);
  mended.push(...unknown.map((snapshot) => `removed snapshot ${snapshot}, of an action that is not cached`));
  return mended;
}
