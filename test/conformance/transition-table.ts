import { describe, expect, test } from 'vitest';
import { expectRefusal, type Suite } from './harness.ts';

type Call = 'start' | 'stop' | 'pause' | 'resume' | 'snapshot' | 'destroy';

/** What each call names as its aim when it is refused. */
const aims = {
  start: 'running',
  stop: 'stopped',
  pause: 'paused',
  resume: 'running',
  snapshot: 'snapshot',
  destroy: 'destroyed',
} as const satisfies Record<Call, string>;

/** The calls each status refuses, as the specification's table has them. */
const refused = {
  created: ['stop', 'pause', 'resume'],
  running: ['start', 'resume'],
  paused: ['start', 'pause'],
  stopped: ['stop', 'pause', 'resume'],
  destroyed: ['start', 'stop', 'pause', 'resume', 'snapshot', 'destroy'],
} as const satisfies Record<string, readonly Call[]>;

/** Every cell of the table. One VM walks through all statuses, with two boots. */
export function describeTable(suite: Suite): void {
  const call = (id: string, name: Call): Promise<unknown> => suite.runtime[name](id);

  /** A VM in this status refuses what the table refuses, and stays as it is; its id is taken; a snapshot can be taken. */
  async function expectCells(id: string, status: keyof typeof refused): Promise<void> {
    expect(await suite.runtime.get(id)).toMatchObject({ id, status });
    for (const name of refused[status]) {
      await expectRefusal(call(id, name), 'InvalidTransition', { vmId: id, from: status, to: aims[name] });
    }
    await expectRefusal(suite.create(id), 'VmAlreadyExists');
    if (status !== 'destroyed') {
      const taken = await suite.runtime.snapshot(id, { id: `of-${status}` });
      expect(taken).toMatchObject({ vmId: id, ref: `${id}/of-${status}` });
      await expectRefusal(suite.runtime.snapshot(id, { id: `of-${status}` }), 'SnapshotAlreadyExists');
    }
    expect(await suite.runtime.get(id)).toMatchObject({ id, status });
  }

  describe('the transition table', () => {
    test('a VM that does not exist is not found by any call', async () => {
      for (const name of Object.keys(aims) as Call[]) await expectRefusal(call('nobody', name), 'VmNotFound');
      expect(await suite.runtime.get('nobody')).toBeUndefined();
    });

    test('created', async () => {
      expect(await suite.create('walker')).toMatchObject({ status: 'created' });
      await expectCells('walker', 'created');
    });

    test('running, from created', async () => {
      expect(await suite.runtime.start('walker')).toMatchObject({ status: 'running' });
      await expectCells('walker', 'running');
    });

    test('paused, and running again', async () => {
      if (!suite.capabilities.pause) {
        await expectRefusal(suite.runtime.pause('walker'), 'Unsupported', { capability: 'pause' });
        return;
      }
      expect(await suite.runtime.pause('walker')).toMatchObject({ status: 'paused' });
      await expectCells('walker', 'paused');
      expect(await suite.runtime.resume('walker')).toMatchObject({ status: 'running' });
      await expectRefusal(suite.runtime.resume('walker'), 'InvalidTransition', {
        from: 'running',
        to: 'running',
      });
    });

    test('stopped, from running', async () => {
      expect(await suite.runtime.stop('walker')).toMatchObject({ status: 'stopped' });
      expect(await suite.runtime.get('walker')).not.toHaveProperty('reason');
      await expectCells('walker', 'stopped');
    });

    test('running again, and stopped from paused', async () => {
      expect(await suite.runtime.start('walker')).toMatchObject({ status: 'running' });
      if (suite.capabilities.pause) await suite.runtime.pause('walker');
      expect(await suite.runtime.stop('walker')).toMatchObject({ status: 'stopped' });
    });

    test('destroyed', async () => {
      await suite.runtime.destroy('walker');
      await expectCells('walker', 'destroyed');
      expect(await suite.runtime.list()).toContainEqual(
        expect.objectContaining({ id: 'walker', status: 'destroyed' }),
      );
    });

    test('snapshots outlive their VM, in the order they were taken', async () => {
      const taken = [
        'of-created',
        'of-running',
        ...(suite.capabilities.pause ? ['of-paused'] : []),
        'of-stopped',
      ];
      const listed = await suite.runtime.snapshots.list({ vmId: 'walker' });
      expect(listed.map(({ id }) => id)).toEqual(taken);
      for (const id of taken.toReversed()) await suite.runtime.snapshots.remove(`walker/${id}`);
      expect(await suite.runtime.snapshots.list({ vmId: 'walker' })).toEqual([]);
    });
  });
}
