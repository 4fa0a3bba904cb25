import { describe, expect, it } from 'vitest';
import { chooseUid, uidRange } from './unprivileged-user.ts';

describe('ids for VMs', () => {
  it.each([
    ['a host', '         0          0 4294967295\n', { base: 0x70000000, count: 0x0e000000 }],
    ['a container with 65,536 ids', '0 100000 65536', { base: 10_000, count: 50_000 }],
    ['a namespace of one user', '0 1000 1', undefined],
    ['one user and a few more', '0 1000 1\n1 100000 12000', undefined],
  ])('on %s', (_, map, range) => {
    expect(uidRange(map)).toEqual(range);
  });

  it('follow from the name, keep clear of each other, and run out into sharing rather than failing', () => {
    const range = { base: 100, count: 3 };
    const first = chooseUid(range, 'a', new Set());
    expect(chooseUid(range, 'a', new Set())).toBe(first);
    const second = chooseUid(range, 'a', new Set([first]));
    const third = chooseUid(range, 'a', new Set([first, second]));
    expect([first, second, third].sort()).toEqual([100, 101, 102]);
    expect(chooseUid(range, 'a', new Set([100, 101, 102]))).toBe(first);
  });
});
