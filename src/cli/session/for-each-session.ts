import type { Alcove } from '../../engine/alcove.ts';
import { forEachName } from '../for-each.ts';
import type { Invocation } from '../invocation.ts';

/** Does one thing with each of the named sessions, in order, and shows what came of it. */
export async function forEachSession(
  invocation: Invocation,
  ids: readonly string[],
  verb: string,
  work: (alcove: Alcove, id: string) => Promise<{ name: string; result: unknown }>,
): Promise<number> {
  return invocation.withEngine(async (alcove) => {
    const { done, code } = await forEachName(invocation, ids, (id) => {
      invocation.progress.step(`${verb} ${id}`);
      return work(alcove, id);
    });
    await invocation.show(
      done.map(({ result }) => result),
      () => done.map(({ name }) => name).join('\n'),
    );
    return code;
  });
}
