import type { Alcove, Vm } from '../engine/alcove.ts';
import { type Invocation, styleFor } from './invocation.ts';
import { exitCodeOf, printError, toAlcoveError } from './print-error.ts';

/** Does one thing to each of the named VMs and shows them as they are then. */
export async function forEachVm(
  invocation: Invocation,
  ids: readonly string[],
  verb: string,
  work: (vm: Vm) => Promise<void>,
): Promise<number> {
  return invocation.withEngine(async (alcove) => {
    const { done, code } = await forEachName(invocation, ids, async (id) => {
      invocation.progress.step(`${verb} ${id}`);
      const vm = await alcove.vm(id);
      await work(vm);
      return await vm.info();
    });
    await invocation.show(done, () => done.map(({ id }) => id).join('\n'));
    return code;
  });
}

/** Removes each of the names and shows which are gone. */
export async function removeEach<Name extends string>(
  invocation: Invocation,
  names: readonly Name[],
  remove: (alcove: Alcove, name: Name) => Promise<void>,
): Promise<number> {
  return invocation.withEngine(async (alcove) => {
    const { done, code } = await forEachName(invocation, names, async (name) => {
      await remove(alcove, name);
      return name;
    });
    await invocation.show({ removed: done }, () => done.join('\n'));
    return code;
  });
}

/**
 * Does one thing for each of the names, in order. One that fails says why and does not keep the others from their turn;
 * `code` is the first failure's exit code.
 */
export async function forEachName<Name extends string, Result>(
  invocation: Invocation,
  names: readonly Name[],
  work: (name: Name) => Promise<Result>,
): Promise<{ done: Result[]; code: number }> {
  const { io, globals, signal, progress } = invocation;
  const done: Result[] = [];
  let code = 0;
  for (const name of names) {
    try {
      done.push(await work(name));
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      const error = toAlcoveError(thrown);
      progress.end();
      printError(error, { io, globals, style: styleFor('stderr', io, globals) });
      code ||= exitCodeOf(error);
    }
  }
  return { done, code };
}
