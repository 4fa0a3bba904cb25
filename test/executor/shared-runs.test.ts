import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Action, ActionResult } from '../../src/executor/index.ts';
import { type ExecutorFixture, openExecutorFixture } from './executor-fixture.ts';

/** Several callers who want the same at once. */
let fixture: ExecutorFixture;
beforeEach(async () => {
  fixture = await openExecutorFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

const action = (command: string): Action => ({ source: { image: 'builtin' }, command });
const commandsRun = () =>
  fixture.vm.backend.log.flatMap(({ call, about }) => (call === 'exec' ? [about] : []));

/** A command that waits until it is let go, with how often it began. */
function gate(name: string, exitCode = 0) {
  const state = { begun: 0, go: Promise.withResolvers<void>(), reached: Promise.withResolvers<string>() };
  fixture.vm.backend.script(name, async (run) => {
    state.begun++;
    state.reached.resolve(run.vmId);
    await run.print('begun\n');
    await Promise.race([
      state.go.promise,
      new Promise((resolve) => run.killed.addEventListener('abort', resolve)),
    ]);
    return exitCode;
  });
  return state;
}

test('two hundred callers of ten keys run each of them once, and all get its result', async () => {
  const calls = Array.from({ length: 200 }, (_, index) => index % 10);
  const results = await Promise.all(
    calls.map((key) => fixture.executor.execute(action(`echo ${key}`), { cache: `k${key}` })),
  );
  expect(commandsRun().sort()).toEqual(Array.from({ length: 10 }, (_, key) => `echo ${key}`));
  for (const [index, { stdout, snapshot, exitCode }] of results.entries()) {
    expect({ stdout, exitCode }).toEqual({ stdout: `${index % 10}\n`, exitCode: 0 });
    expect(snapshot).toBe(results[index % 10]?.snapshot);
  }
  expect(results.filter(({ joined }) => !joined)).toHaveLength(10);
});

test('two hundred callers of ten keys on the way to be cancelled: each key runs until somebody has it', async () => {
  const stops = Array.from({ length: 200 }, () => new AbortController());
  const results = stops.map((stop, index) =>
    fixture.executor
      .execute(action(`echo ${index % 10}`), { cache: `k${index % 10}` }, { signal: stop.signal })
      .catch((error: Error) => error),
  );
  // The first ten lead; all but the last ten give up while the machines are made.
  for (const stop of stops.slice(0, 190)) stop.abort();
  const ended = await Promise.all(results);
  for (const error of ended.slice(0, 190)) expect(error).toHaveProperty('code', 'Cancelled');
  for (const [index, result] of ended.slice(190).entries())
    expect(result).toMatchObject({ exitCode: 0, stdout: `${index}\n` });
});

test('a failure is seen by every caller, and the next one runs it again', async () => {
  const failing = gate('fail', 3);
  const both = [1, 2].map(() => fixture.executor.execute(action('fail'), { cache: 'k' }));
  await failing.reached.promise;
  failing.go.resolve();
  for (const result of await Promise.all(both)) expect(result).toMatchObject({ exitCode: 3, cached: false });
  expect(failing.begun).toBe(1);
  await fixture.executor.execute(action('fail'), { cache: 'k' });
  expect(failing.begun).toBe(2);
});

test('when the one who ran it is cancelled, the others still get it, once', async () => {
  const work = gate('work');
  const stop = new AbortController();
  const first = fixture.executor.execute(action('work'), { cache: 'k' }, { signal: stop.signal });
  const second = fixture.executor.execute(action('work'), { cache: 'k' });
  await work.reached.promise;
  stop.abort();
  await expect(first).rejects.toHaveProperty('code', 'Cancelled');
  work.go.resolve();
  expect(await second).toMatchObject({ exitCode: 0, stdout: 'begun\n' });
  expect(work.begun).toBe(1);
});

test('when all are cancelled, nothing is left, and the next caller runs it', async () => {
  const work = gate('work');
  const stop = new AbortController();
  const both = [1, 2].map(() =>
    fixture.executor
      .execute(action('work'), { cache: 'k' }, { signal: stop.signal })
      .catch((error: Error) => error),
  );
  await work.reached.promise;
  stop.abort();
  for (const error of await Promise.all(both)) expect(error).toHaveProperty('code', 'Cancelled');
  await fixture.executor.settled();
  expect(await fixture.vm.runtime.list({ destroyed: 'leave-out' })).toEqual([]);
  work.go.resolve();
  expect(await fixture.executor.execute(action('work'), { cache: 'k' })).toMatchObject({ exitCode: 0 });
});

test('when the machine of the one who runs it dies, that one fails, and another takes over', async () => {
  const work = gate('work');
  const calls = [1, 2, 3].map(() =>
    fixture.executor.execute(action('work'), { cache: 'k' }).catch((error: Error) => error),
  );
  fixture.vm.backend.dieByItself(await work.reached.promise, 'struck by lightning');
  work.go.resolve();
  const [first, ...others] = await Promise.all(calls);
  expect(first).toMatchObject({ code: 'VmFailed' });
  for (const result of others) expect(result).toMatchObject({ exitCode: 0 });
  expect(work.begun).toBe(2);
});

test('two hundred callers of ten keys, whose first machines all die: another takes over each, and none hangs', async () => {
  const died = new Set<string>();
  fixture.vm.backend.script(/^work /, async (run) => {
    if (!died.has(run.line)) {
      died.add(run.line);
      fixture.vm.backend.dieByItself(run.vmId, 'struck by lightning');
    }
    await run.print(`${run.line}\n`);
    return 0;
  });
  const results = await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      fixture.executor
        .execute(action(`work ${index % 10}`), { cache: `k${index % 10}` })
        .catch((error: Error) => error),
    ),
  );
  const failed = results.filter((result) => result instanceof Error);
  expect(failed).toHaveLength(10);
  for (const error of failed) expect(error).toHaveProperty('code', 'VmFailed');
  for (const [index, result] of results.entries())
    if (!(result instanceof Error)) expect(result.stdout).toBe(`work ${index % 10}\n`);
  expect(commandsRun()).toHaveLength(20);
});

test('a callback that throws ends its own caller alone', async () => {
  const work = gate('work');
  const bad = fixture.executor
    .execute(
      action('work'),
      { cache: 'k' },
      {
        onStdout: () => {
          throw new Error('the pipe is closed');
        },
      },
    )
    .catch((error: Error) => error);
  const good = fixture.executor.execute(action('work'), { cache: 'k' });
  work.go.resolve();
  expect(await bad).toMatchObject({ message: 'the pipe is closed' });
  expect(await good).toMatchObject({ exitCode: 0 });
});

test('who joins a run hears its output when it has ended', async () => {
  const work = gate('work');
  const lines: [string, boolean][] = [];
  const first = fixture.executor.execute(action('work'), { cache: 'k' });
  const second = fixture.executor.execute(
    action('work'),
    { cache: 'k' },
    { onStdout: (line, { replayed }) => void lines.push([line, replayed]) },
  );
  await work.reached.promise;
  work.go.resolve();
  expect(await Promise.all([first, second])).toMatchObject([{ joined: false }, { joined: true }]);
  expect(lines).toEqual([['begun', true]]);
});

test('read-only callers share a run, and its snapshot stays until all have let it go', async () => {
  const results: ActionResult[] = await Promise.all(
    [1, 2].map(() => fixture.executor.execute(action('echo x'), { cache: 'k', mode: 'readOnly' })),
  );
  expect(commandsRun()).toEqual(['echo x']);
  const [{ snapshot = 'none/none' } = {}] = results;
  await fixture.executor.removeSnapshot(snapshot);
  expect(await fixture.vm.runtime.snapshots.has(snapshot)).toBe(true);
  await fixture.executor.removeSnapshot(snapshot);
  expect(await fixture.vm.runtime.snapshots.has(snapshot)).toBe(false);
});

test('a result that is removed the moment it is made is a result for all, or is made again', async () => {
  const work = gate('work');
  const first = fixture.executor.execute(action('work'), { cache: 'k' });
  const second = fixture.executor.execute(action('work'), { cache: 'k' });
  const removed = first.then(() => fixture.executor.cache.remove(['k']));
  await work.reached.promise;
  work.go.resolve();
  await removed;
  for (const result of await Promise.all([first, second]))
    expect(result).toMatchObject({ exitCode: 0, stdout: 'begun\n', snapshot: expect.any(String) });
});

test('a refresh joins a run of the same key that is under way', async () => {
  const work = gate('work');
  const first = fixture.executor.execute(action('work'), { cache: 'k' });
  await work.reached.promise;
  const second = fixture.executor.execute(action('work'), { cache: 'k', mode: 'refresh' });
  work.go.resolve();
  await Promise.all([first, second]);
  expect(work.begun).toBe(1);
});

test('closing ends what is under way', async () => {
  const work = gate('work');
  const running = fixture.executor.execute(action('work'), { cache: 'k' }).catch((error: Error) => error);
  await work.reached.promise;
  await fixture.reopen();
  expect(await running).toMatchObject({ code: 'Cancelled' });
  expect(fixture.mended).toEqual([]);
});
