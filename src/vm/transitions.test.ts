import { expect, test } from 'vitest';
import { AlcoveError } from '../errors.ts';
import { statusAfter, type VmCall } from './transitions.ts';
import type { VmStatus } from './vm.ts';

/** The specification's table, cell by cell: the status afterwards, or the aim that is refused. */
const table: readonly (readonly [VmStatus, VmCall, VmStatus | { refused: string }])[] = [
  ['created', 'start', 'running'],
  ['created', 'stop', { refused: 'stopped' }],
  ['created', 'pause', { refused: 'paused' }],
  ['created', 'resume', { refused: 'running' }],
  ['created', 'snapshot', 'created'],
  ['created', 'destroy', 'destroyed'],
  ['running', 'start', { refused: 'running' }],
  ['running', 'stop', 'stopped'],
  ['running', 'pause', 'paused'],
  ['running', 'resume', { refused: 'running' }],
  ['running', 'snapshot', 'running'],
  ['running', 'destroy', 'destroyed'],
  ['paused', 'start', { refused: 'running' }],
  ['paused', 'stop', 'stopped'],
  ['paused', 'pause', { refused: 'paused' }],
  ['paused', 'resume', 'running'],
  ['paused', 'snapshot', 'paused'],
  ['paused', 'destroy', 'destroyed'],
  ['stopped', 'start', 'running'],
  ['stopped', 'stop', { refused: 'stopped' }],
  ['stopped', 'pause', { refused: 'paused' }],
  ['stopped', 'resume', { refused: 'running' }],
  ['stopped', 'snapshot', 'stopped'],
  ['stopped', 'destroy', 'destroyed'],
  ['destroyed', 'start', { refused: 'running' }],
  ['destroyed', 'stop', { refused: 'stopped' }],
  ['destroyed', 'pause', { refused: 'paused' }],
  ['destroyed', 'resume', { refused: 'running' }],
  ['destroyed', 'snapshot', { refused: 'snapshot' }],
  ['destroyed', 'destroy', { refused: 'destroyed' }],
];

test.for(table)('%s, %s', ([from, call, expected]) => {
  if (typeof expected === 'string') {
    expect(statusAfter('web', from, call)).toBe(expected);
    return;
  }
  const refusal = catchError(() => statusAfter('web', from, call));
  expect(refusal).toMatchObject({
    code: 'InvalidTransition',
    details: { vmId: 'web', from, to: expected.refused },
  });
});

test.for(['start', 'stop', 'pause', 'resume', 'snapshot', 'destroy'] as const)(
  '%s of a VM that does not exist finds none',
  (call) => {
    expect(catchError(() => statusAfter('web', undefined, call))).toMatchObject({ code: 'VmNotFound' });
  },
);

function catchError(work: () => unknown): AlcoveError {
  try {
    work();
  } catch (error) {
    if (error instanceof AlcoveError) return error;
    throw error;
  }
  return expect.unreachable('it was not refused');
}
