import { expect, test } from 'vitest';
import { SettableClock } from '../../test/sessions/sessions-fixture.ts';
import { Ages } from './ages.ts';

test('what began now grows with the time that passes', async () => {
  const clock = new SettableClock();
  const ages = new Ages(clock);
  ages.start('a');
  await clock.advance(5000);
  expect(ages.ms('a', clock.now() - 99_000)).toBe(5000);
});

test.for([
  ['forward', 86_400_000],
  ['back', -86_400_000],
] as const)('a clock that is set %s makes nothing older or younger', async ([, by]) => {
  const clock = new SettableClock();
  const ages = new Ages(clock);
  ages.start('a');
  const seenAtMs = clock.now() - 1000;
  expect(ages.ms('seen', seenAtMs)).toBe(1000);
  clock.set(by);
  await clock.advance(10);
  expect(ages.ms('a', 0)).toBe(10);
  expect(ages.ms('seen', seenAtMs)).toBe(1010);
});

test('an age from before a restart is what the wall clock says', async () => {
  const clock = new SettableClock();
  const sinceMs = clock.now();
  await clock.advance(7000);
  const ages = new Ages(clock);
  expect(ages.ms('a', sinceMs)).toBe(7000);
  await clock.advance(1000);
  expect(ages.ms('a', sinceMs)).toBe(8000);
});

test('what was stored before the clock was set back counts as now, and grows', async () => {
  const clock = new SettableClock();
  const sinceMs = clock.now();
  clock.set(-3_600_000);
  const ages = new Ages(clock);
  expect(ages.ms('a', sinceMs)).toBe(0);
  await clock.advance(100);
  expect(ages.ms('a', sinceMs)).toBe(100);
});

test('what is forgotten begins anew from what is stored', async () => {
  const clock = new SettableClock();
  const ages = new Ages(clock);
  ages.start('a');
  await clock.advance(500);
  ages.forget('a');
  expect(ages.ms('a', clock.now() - 20)).toBe(20);
});
