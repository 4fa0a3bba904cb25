import { expect, test } from 'vitest';
import { AlcoveError, cancelled, type ErrorCode, errorTable, isAlcoveError } from './errors.ts';

test.for(Object.keys(errorTable) as ErrorCode[])('%s has what every way out needs', (code) => {
  const { status, exit, remedy } = errorTable[code];
  expect(status).toBeGreaterThanOrEqual(400);
  expect(status).toBeLessThan(600);
  expect(exit).toBeGreaterThan(0);
  expect(exit).toBeLessThanOrEqual(130);
  expect(remedy).toMatch(/\.$/);
  const error = new AlcoveError(code, 'something happened');
  expect(error).toMatchObject({
    name: 'AlcoveError',
    code,
    remedy,
    status,
    exitCode: exit,
    details: undefined,
  });
  expect(error.toJSON()).toEqual({ code, message: 'something happened', remedy });
});

test('an error carries its cause, its details and a better remedy', () => {
  const cause = new Error('underneath');
  const error = new AlcoveError('InvalidInput', 'cpus is 0', {
    details: { field: 'cpus' },
    remedy: 'Use one at least.',
    cause,
  });
  expect(error.cause).toBe(cause);
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    code: 'InvalidInput',
    message: 'cpus is 0',
    remedy: 'Use one at least.',
    details: { field: 'cpus' },
  });
});

test('an error is told from others, by code too', () => {
  const error: unknown = new AlcoveError('VmNotFound', 'there is no VM web');
  expect(isAlcoveError(error)).toBe(true);
  expect(isAlcoveError(error, 'VmNotFound')).toBe(true);
  expect(isAlcoveError(error, 'VmFailed')).toBe(false);
  expect(isAlcoveError(new Error('no'))).toBe(false);
  expect(isAlcoveError({ code: 'VmNotFound' })).toBe(false);
});

test('a cancelled call keeps the reason of its signal', () => {
  const reason = new Error('changed my mind');
  expect(cancelled('start of VM web', AbortSignal.abort(reason))).toMatchObject({
    code: 'Cancelled',
    message: 'start of VM web was cancelled',
    cause: reason,
  });
});
