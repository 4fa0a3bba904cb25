import { describe, expect, test } from 'vitest';
import { expectRefusal, type Suite } from './harness.ts';

/** Calls at the same time. Two starts. */
export function describeOrder(suite: Suite): void {
  describe('calls at the same time', () => {
    test('calls on one VM are taken in the order they come', async () => {
      const calls = [
        suite.create('busy'),
        suite.runtime.start('busy'),
        suite.runtime.stop('busy'),
        suite.runtime.snapshot('busy', { id: 'last' }),
        suite.runtime.destroy('busy'),
      ];
      const after = expectRefusal(suite.runtime.start('busy'), 'InvalidTransition', { from: 'destroyed' });
      expect(await Promise.allSettled(calls)).toEqual(
        calls.map(() => expect.objectContaining({ status: 'fulfilled' })),
      );
      await after;
      expect(await suite.runtime.snapshots.get('busy/last')).toMatchObject({ kind: 'disk' });
      await suite.runtime.snapshots.remove('busy/last');
    });

    test('of two creates of one id exactly one wins, and the other leaves nothing', async () => {
      const before = suite.runtime.capacity.taken;
      const outcomes = await Promise.allSettled([1, 2, 3].map(() => suite.create('wanted')));
      expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
      for (const outcome of outcomes)
        if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'VmAlreadyExists' });
      expect(suite.runtime.capacity.taken.vms).toBe(before.vms + 1);
      await suite.runtime.destroy('wanted');
      expect(suite.runtime.capacity.taken).toEqual(before);
    });

    test('VMs are made and ended in parallel, and listed by id', async () => {
      const ids = ['p-3', 'p-1', 'p-2'];
      await Promise.all(ids.map((id) => suite.create(id, { labels: { group: 'p' } })));
      const listed = await suite.runtime.list({ labels: { group: 'p' } });
      expect(listed.map(({ id }) => id)).toEqual(['p-1', 'p-2', 'p-3']);
      await Promise.all(ids.map((id) => suite.runtime.destroy(id)));
      expect(await suite.runtime.list({ labels: { group: 'p' }, destroyed: 'leave-out' })).toEqual([]);
    });

    test('a call that is given up while it waits leaves no trace', async () => {
      await suite.create('patient');
      const controller = new AbortController();
      const starting = suite.runtime.start('patient');
      const stopping = suite.runtime.stop('patient', { signal: controller.signal });
      controller.abort();
      await expectRefusal(stopping, 'Cancelled');
      expect(await starting).toMatchObject({ status: 'running' });
      expect(await suite.runtime.get('patient')).toMatchObject({ status: 'running' });
      await suite.runtime.destroy('patient');
    });

    test('a start that is given up leaves the VM as it was', async () => {
      await suite.create('hasty');
      const controller = new AbortController();
      const starting = suite.runtime.start('hasty', { signal: controller.signal });
      controller.abort();
      await expectRefusal(starting, 'Cancelled');
      expect(await suite.runtime.get('hasty')).toMatchObject({ status: 'created' });
      await suite.runtime.destroy('hasty');
    });
  });
}
