import { describe, expect, test } from 'vitest';
import { lines } from './guest-lines.ts';
import { expectRefusal, type Suite } from './harness.ts';

/** Restarts of the engine, and machines that end by themselves. Three starts. */
export function describeSurvival(suite: Suite): void {
  describe('survival', () => {
    test('a running VM is adopted by the next engine and still works', async () => {
      await suite.boot('survivor', { env: { A: 'kept' }, labels: { of: 'survivor' } });
      await suite.create('sleeper');
      await suite.run('survivor', lines.writeOne);
      const before = await suite.runtime.get('survivor');
      {
        await using started = await suite.runtime.spawn('survivor', {
          command: lines.wait,
          detachedId: 'waiter',
        });
        for await (const _chunk of started.stdout) break;
      }
      await suite.reopen();
      expect(suite.runtime.mended).toEqual([]);
      expect(await suite.runtime.get('survivor')).toEqual(before);
      expect(await suite.run('survivor', lines.readNote)).toBe('one\n');
      expect((await suite.runtime.exec('survivor', { command: lines.variables })).stdout).toContain('kept');
      const guest = await suite.runtime.guest('survivor');
      const [detached] = await guest.listDetached();
      expect(detached).toMatchObject({ id: 'waiter' });
      expect(detached).not.toHaveProperty('exit');
    });

    test('an adopted VM can be snapshotted, stopped and started', async () => {
      await suite.runtime.snapshot('survivor', { id: 'after' });
      await suite.runtime.stop('survivor');
      await suite.reopen();
      expect(suite.runtime.mended).toEqual([]);
      expect(await suite.runtime.start('survivor')).toMatchObject({ status: 'running' });
      expect(await suite.run('survivor', lines.readNote)).toBe('one\n');
    });

    test('a paused VM is adopted paused', async () => {
      if (!suite.capabilities.pause) return;
      await suite.runtime.pause('survivor');
      await suite.reopen();
      expect(await suite.runtime.get('survivor')).toMatchObject({ status: 'paused' });
      await suite.runtime.resume('survivor');
      expect(await suite.run('survivor', lines.readNote)).toBe('one\n');
    });

    test('a VM that ends by itself is stopped with a reason, and whoever waits hears of it', async () => {
      const waiting = suite.runtime.exited('survivor');
      const up = Promise.withResolvers<void>();
      const command = suite.runtime.exec('survivor', { command: lines.wait, onStdout: () => up.resolve() });
      const hears = expectRefusal(command, 'VmFailed');
      await Promise.race([up.promise, hears]);
      await expectRefusal(suite.runtime.exec('survivor', { command: lines.powerOff }), 'VmFailed');
      await hears;
      const reason = await waiting;
      expect(reason).not.toBe('');
      expect(await suite.runtime.get('survivor')).toMatchObject({ status: 'stopped', reason });
      expect(await suite.runtime.exited('survivor')).toBe(reason);
      await suite.reopen();
      expect(suite.runtime.mended).toEqual([]);
      expect(await suite.runtime.get('survivor')).toMatchObject({ status: 'stopped', reason });
    });

    test('a VM that ended by itself starts again', async () => {
      expect(await suite.runtime.start('survivor')).toMatchObject({ status: 'running' });
      expect(await suite.runtime.get('survivor')).not.toHaveProperty('reason');
      expect((await suite.runtime.exec('survivor', { command: lines.directory, cwd: '/' })).stdout).toBe(
        '/\n',
      );
    });

    test('VMs in every state are destroyed by an engine that has not used them before', async () => {
      await suite.reopen();
      await suite.runtime.destroy('survivor');
      await suite.runtime.destroy('sleeper');
      await suite.runtime.snapshots.remove('survivor/after');
      await suite.reopen();
      expect(suite.runtime.mended).toEqual([]);
      expect(suite.runtime.capacity.taken).toEqual({ vms: 0, memoryMiB: 0, diskMiB: 0 });
    });
  });
}
