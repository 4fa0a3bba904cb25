import { AlcoveError } from '../../errors.ts';
import type { BackendCallOptions, SpareKey, SpareRequest } from '../backend.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { sourceOf } from '../snapshot-source.ts';
import { ensureIntact } from '../verify-snapshot.ts';
import type { VmRecord } from '../vm-records.ts';
import type { Recipe, SpareRecord } from './spare-records.ts';

/** What to make so that the next VM like this one finds a spare of that key; `undefined` when there will be none like it. */
export function recipeFor(key: SpareKey, vm: VmRecord): Recipe | undefined {
  const base = { backend: vm.backend, shape: vm.shape };
  if (key.startsWith('image:')) return { ...base, kind: 'image', image: vm.image };
  if (key.startsWith('shape:')) return { ...base, kind: 'shape' };
  // One that ran has memory of its own, if any; nobody else will go on from that.
  return vm.from && vm.status === 'created' ? { ...base, kind: 'memory', snapshot: vm.from } : undefined;
}

/** Whether what a spare is of is still there. */
export async function isStale(context: RuntimeContext, recipe: Recipe): Promise<boolean> {
  switch (recipe.kind) {
    case 'shape':
      return false;
    case 'image':
      return !(await context.images.find(recipe.image.digest));
    case 'memory': {
      const snapshot = context.snapshots.byUid(recipe.snapshot.uid);
      return !snapshot || snapshot.lifetime === 'lost';
    }
  }
}

/**
 * What the backend is told, looked up as things are now. What it needs is held until this is disposed of.
 *
 * @throws AlcoveError `ImageNotFound`, `SnapshotNotFound` when that is gone
 */
export async function spareRequest(
  context: RuntimeContext,
  { id, recipe }: SpareRecord,
  dir: string,
  options: BackendCallOptions,
): Promise<Disposable & { request: SpareRequest }> {
  const base = { id, dir, shape: recipe.shape };
  switch (recipe.kind) {
    case 'shape':
      return { request: { ...base, kind: 'shape' }, [Symbol.dispose]: () => undefined };
    case 'image': {
      const { digest } = recipe.image;
      const image = await context.images.find(digest);
      if (!image)
        throw new AlcoveError('ImageNotFound', `the image ${digest} is gone`, { details: { digest } });
      const held = context.pins.hold(digest);
      const request = { ...base, kind: 'image' as const, image: { digest, rootfsPath: image.rootfsPath } };
      return { request, [Symbol.dispose]: () => held[Symbol.dispose]() };
    }
    case 'memory': {
      const { uid, ref } = recipe.snapshot;
      const snapshot = context.snapshots.byUid(uid);
      if (!snapshot || snapshot.lifetime === 'lost')
        throw new AlcoveError('SnapshotNotFound', `the snapshot ${ref} is gone`, { details: { ref } });
      const held = context.pins.hold(uid);
      try {
        await ensureIntact(context, snapshot, options);
        const request = { ...base, kind: 'memory' as const, snapshot: sourceOf(context, snapshot) };
        return { request, [Symbol.dispose]: () => held[Symbol.dispose]() };
      } catch (error) {
        held[Symbol.dispose]();
        throw error;
      }
    }
  }
}
