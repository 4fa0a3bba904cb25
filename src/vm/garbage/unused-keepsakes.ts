import { keepsakesOf } from '../disk-usage.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { formatSpan } from './format-span.ts';
import type { Garbage } from './garbage.ts';

/** Templates and caches of the backends that are of no use to anything that is here, and have not been used for a while. */
export async function unusedKeepsakes(context: RuntimeContext, unusedForMs: number): Promise<Garbage[]> {
  const nowMs = context.clock.now();
  const unused = (await keepsakesOf(context)).filter(
    ({ keepsake }) => keepsake.neededBy === undefined && nowMs - keepsake.lastUsedMs >= unusedForMs,
  );
  return unused.map(({ backend, keepsake }) => ({
    kind: keepsake.kind,
    name: keepsake.name,
    why: `nothing needs it, and it was last used ${formatSpan(nowMs - keepsake.lastUsedMs)} ago: ${keepsake.of}`,
    paths: keepsake.paths,
    remove: async () => {
      const removed = await context.backends.named(backend).keepsakes?.remove(keepsake.name);
      return removed ? 'removed' : { stays: 'it is in use by now' };
    },
  }));
}
