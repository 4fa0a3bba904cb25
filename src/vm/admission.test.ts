import { expect, test } from 'vitest';
import { Admission } from './admission.ts';

const limits = { vms: 2, memoryMiB: 1000, diskMiB: 5000 };
const room = { diskMiB: 1000, memoryMiB: 256 };

test('a VM holds its place and disk from the start, and memory only while it runs', () => {
  const admission = new Admission(limits);
  admission.takeVm('a', room);
  expect(admission.taken).toEqual({ vms: 1, memoryMiB: 0, diskMiB: 1000 });
  admission.takeMemory('a', 256);
  expect(admission.taken).toEqual({ vms: 1, memoryMiB: 256, diskMiB: 1000 });
  admission.releaseMemory('a');
  expect(admission.taken).toEqual({ vms: 1, memoryMiB: 0, diskMiB: 1000 });
  admission.releaseVm('a');
  expect(admission.taken).toEqual({ vms: 0, memoryMiB: 0, diskMiB: 0 });
});

test.for([
  ['vms', { vms: 1, memoryMiB: 1000, diskMiB: 5000 }, { max: 1, asked: 1, taken: 1 }],
  ['diskMiB', { vms: 2, memoryMiB: 1000, diskMiB: 1999 }, { max: 1999, asked: 1000, taken: 1000 }],
  ['memoryMiB', { vms: 2, memoryMiB: 255, diskMiB: 5000 }, { max: 255, asked: 256, taken: 0 }],
] as const)(
  'beyond %s the refusal names the limit and how much of it is taken',
  ([limit, tight, details]) => {
    const admission = new Admission(tight);
    admission.adopt('there', { diskMiB: 1000, memoryMiB: 0 });
    expect(() => admission.takeVm('a', room)).toThrowError(
      expect.objectContaining({ code: 'AtCapacity', details: { limit, ...details } }),
    );
    expect(admission.taken.vms).toBe(1);
  },
);

test('memory is refused when the running ones have it, and a second ask of one VM takes nothing more', () => {
  const admission = new Admission({ ...limits, memoryMiB: 500 });
  admission.takeVm('a', room);
  admission.takeVm('b', room);
  admission.takeMemory('a', 256);
  admission.takeMemory('a', 256);
  expect(() => admission.takeMemory('b', 256)).toThrowError(
    expect.objectContaining({ details: { limit: 'memoryMiB', max: 500, asked: 256, taken: 256 } }),
  );
});

test('room is given back once, however often it is said', () => {
  const admission = new Admission(limits);
  admission.takeVm('a', room);
  admission.takeVm('b', room);
  admission.releaseVm('a');
  admission.releaseVm('a');
  admission.releaseMemory('a');
  expect(admission.taken).toEqual({ vms: 1, memoryMiB: 0, diskMiB: 1000 });
});

test('what is found at open is counted whatever the limits say, and stops others', () => {
  const admission = new Admission(limits);
  for (const id of ['a', 'b', 'c']) admission.adopt(id, { diskMiB: 2000, memoryMiB: 600 });
  expect(admission.taken).toEqual({ vms: 3, memoryMiB: 1800, diskMiB: 6000 });
  expect(() => admission.takeVm('d', room)).toThrowError(expect.objectContaining({ code: 'AtCapacity' }));
});

test('machines made ahead of need hold what VMs leave, and are no reason to refuse one', () => {
  const admission = new Admission(limits);
  admission.takeVm('a', room);
  admission.takeSpare('spare-1', 500);
  admission.takeSpare('spare-2', 400);
  expect(() => admission.takeSpare('spare-3', 101)).toThrowError(
    expect.objectContaining({ details: { limit: 'memoryMiB', max: 1000, asked: 101, taken: 900 } }),
  );
  expect(admission.taken).toEqual({ vms: 1, memoryMiB: 0, diskMiB: 1000 });
  expect(admission.takeMemory('a', 256)).toBe(false);
  admission.releaseSpare('spare-1');
  expect(admission.takeMemory('a', 256)).toBe(true);
  expect(admission.sparesMiB).toBe(400);
});

test('where VMs have the memory, the refusal does not speak of machines made ahead of need', () => {
  const admission = new Admission(limits);
  admission.takeVm('a', room);
  admission.takeVm('b', room);
  admission.takeMemory('a', 800);
  admission.takeSpare('spare', 200);
  expect(() => admission.takeMemory('b', 256)).toThrowError(
    expect.objectContaining({ details: { limit: 'memoryMiB', max: 1000, asked: 256, taken: 800 } }),
  );
});
