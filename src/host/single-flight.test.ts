import { expect, test } from 'vitest';
import { type FlightContext, SingleFlight } from './single-flight.ts';

/** Work that ends when it is told, and says what it saw. */
function controlled() {
  const done = Promise.withResolvers<string>();
  const contexts: FlightContext[] = [];
  const work = (context: FlightContext) => {
    contexts.push(context);
    return done.promise;
  };
  return { work, contexts, done };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('calls of one key share one run and its progress, later ones too', async () => {
  const flights = new SingleFlight<string>();
  const { work, contexts, done } = controlled();
  const seen: string[][] = [[], []];
  const call = (index: number) =>
    flights.run('key', { onProgress: ({ step }) => seen[index]?.push(step) }, work);
  const first = call(0);
  await turn();
  contexts[0]?.report('one');
  const second = call(1);
  contexts[0]?.report('two');
  done.resolve('result');
  expect(await Promise.all([first, second])).toEqual(['result', 'result']);
  expect(seen).toEqual([
    ['one', 'two'],
    ['one', 'two'],
  ]);
  expect(contexts).toHaveLength(1);
});

test('other keys, and calls after the end, run by themselves', async () => {
  const flights = new SingleFlight<number>();
  let runs = 0;
  const work = async () => ++runs;
  expect(await Promise.all([flights.run('a', {}, work), flights.run('b', {}, work)])).toEqual([1, 2]);
  expect(await flights.run('a', {}, work)).toBe(3);
});

test('a failure reaches every caller, and the next call tries again', async () => {
  const flights = new SingleFlight<string>();
  const fail = () => Promise.reject(new Error('broken'));
  const results = await Promise.allSettled([flights.run('key', {}, fail), flights.run('key', {}, fail)]);
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(await flights.run('key', {}, async () => 'well')).toBe('well');
});

test('work goes on while anyone waits, and stops when nobody does', async () => {
  const flights = new SingleFlight<string>();
  const { work, contexts, done } = controlled();
  const aborts = [new AbortController(), new AbortController()];
  const calls = aborts.map(({ signal }) =>
    flights.run('key', { signal }, work).catch((error: unknown) => error),
  );
  await turn();
  aborts[0]?.abort();
  expect(await calls[0]).toMatchObject({ code: 'Cancelled' });
  expect(contexts[0]?.signal.aborted).toBe(false);

  aborts[1]?.abort();
  expect(contexts[0]?.signal.aborted).toBe(true);
  let ended = false;
  calls[1]?.then(() => {
    ended = true;
  });
  await turn();
  expect(ended, 'the last caller waits until the work has cleaned up').toBe(false);
  const next = flights.run('key', {}, async () => 'a new run');
  await turn();
  done.reject(new Error('stopped'));
  expect(await calls[1]).toMatchObject({ code: 'Cancelled' });
  expect(await next).toBe('a new run');
});

test('a call that is cancelled already starts nothing', async () => {
  const { work, contexts } = controlled();
  const call = new SingleFlight<string>().run('key', { signal: AbortSignal.abort() }, work);
  await expect(call).rejects.toMatchObject({ code: 'Cancelled' });
  expect(contexts).toEqual([]);
});
