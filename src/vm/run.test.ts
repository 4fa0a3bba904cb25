import { expect, test } from 'vitest';
import { Run } from './run.ts';

test('who listens hears the reason of a death once, and who comes late hears it at once', () => {
  const run = new Run();
  const heard: unknown[] = [];
  run.onEnd((reason) => heard.push(reason));
  run.die('killed');
  run.die('again');
  run.finish();
  run.onEnd((reason) => heard.push(reason));
  expect(heard).toEqual(['killed', 'killed']);
  expect(run.reason).toBe('killed');
});

test('an end that was asked for has no reason', () => {
  const run = new Run();
  const heard: unknown[] = [];
  run.onEnd((reason) => heard.push(reason));
  run.finish();
  run.die('too late');
  expect(heard).toEqual([undefined]);
  expect(run.reason).toBeUndefined();
});

test('who stops listening hears nothing', () => {
  const run = new Run();
  run.onEnd(() => expect.unreachable())();
  run.die('killed');
});
