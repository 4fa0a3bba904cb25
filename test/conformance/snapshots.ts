import { describe, expect, test } from 'vitest';
import { lines } from './guest-lines.ts';
import { expectRefusal, type Suite } from './harness.ts';

/** Snapshots, what is made from them, and kept memory. Six starts. */
export function describeSnapshots(suite: Suite): void {
  const background = async (id: string) => Number((await suite.run(id, lines.countBackground)).trim());
  const hasMemory = () => suite.capabilities.memorySnapshots === true;

  describe('snapshots', () => {
    test('a running VM goes on after a snapshot, and the snapshot is of its instant', async () => {
      await suite.boot('origin');
      await suite.run('origin', lines.writeOne);
      const left = suite.runtime.exec('origin', { command: lines.background, background: 'keep' });
      await suite.harness.passTime?.(1000);
      await left;
      const first = await suite.runtime.snapshot('origin', { id: 'first' });
      expect(first).toMatchObject({
        id: 'first',
        vmId: 'origin',
        ref: 'origin/first',
        kind: hasMemory() ? 'disk+memory' : 'disk',
      });
      expect(first.sizeBytes).toBeGreaterThan(0);
      expect(first).not.toHaveProperty('parent');
      expect(await background('origin')).toBe(1);
      await suite.run('origin', lines.writeTwo);
      expect(await suite.runtime.snapshot('origin', { id: 'second' })).toMatchObject({
        parent: 'origin/first',
      });
      expect(await suite.runtime.get('origin')).toMatchObject({
        status: 'running',
        snapshots: ['first', 'second'],
      });
    });

    test('a snapshot is restored as it was, as often as wanted, and the copies are apart', async () => {
      const [a, b] = await Promise.all(
        ['copy-a', 'copy-b'].map(async (id) => {
          expect(await suite.runtime.restore('origin/first', { id })).toMatchObject({
            status: 'created',
            from: 'origin/first',
          });
          await suite.runtime.start(id);
          expect(await suite.run(id, lines.readNote)).toBe('one\n');
          expect(await background(id)).toBe(hasMemory() ? 1 : 0);
          return (await suite.run(id, lines.identity)).trim().split('\n');
        }),
      );
      expect(a?.[0]).toBe('copy-a');
      expect(b?.[0]).toBe('copy-b');
      expect(a?.[1]).not.toBe(b?.[1]);
      expect(a?.[2]).not.toBe(b?.[2]);
      await suite.run('copy-a', lines.writeTwo);
      expect(await suite.run('copy-b', lines.readNote)).toBe('one\n');
      expect(await suite.run('origin', lines.readNote)).toBe('two\n');
    });

    test('a copy descends from what it was made of', async () => {
      expect(await suite.runtime.snapshot('copy-a', { id: 'grown' })).toMatchObject({
        parent: 'origin/first',
      });
    });

    test('what is needed cannot be removed, and what is not can', async () => {
      await expectRefusal(suite.runtime.snapshots.remove('origin/first'), 'SnapshotInUse');
      await expectRefusal(suite.runtime.snapshots.remove('origin/none'), 'SnapshotNotFound');
      await expectRefusal(suite.runtime.restore('origin/none'), 'SnapshotNotFound');
      await suite.runtime.destroy('copy-b');
      await expectRefusal(suite.runtime.snapshots.remove('origin/first'), 'SnapshotInUse');
    });

    test('a VM lives on without the snapshots that were taken of it', async () => {
      await suite.runtime.snapshots.remove('copy-a/grown');
      await suite.runtime.snapshots.remove('origin/second');
      expect(await suite.run('origin', lines.readNote)).toBe('two\n');
      expect(await suite.run('copy-a', lines.readNote)).toBe('two\n');
      await suite.runtime.destroy('copy-a');
    });

    test('forks begin as their origin was, and grow apart', async () => {
      const forks = await suite.runtime.fork('origin', 3, {
        ids: ['fork-a', 'origin', 'fork-b'],
        start: 'yes',
      });
      expect(forks).toMatchObject([
        { id: 'fork-a', vm: { status: 'running' } },
        { id: 'origin', error: { code: 'VmAlreadyExists' } },
        { id: 'fork-b', vm: { status: 'running' } },
      ]);
      await suite.run('fork-a', lines.writeOne);
      expect(await suite.run('fork-b', lines.readNote)).toBe('two\n');
      expect(await suite.run('origin', lines.readNote)).toBe('two\n');
      expect(await background('fork-b')).toBe(hasMemory() ? 1 : 0);
    });

    test('the snapshot of a fork goes with the last VM made from it', async () => {
      const listed = async () =>
        (await suite.runtime.snapshots.list({ vmId: 'origin' })).map(({ id }) => id.replace(/-.*/, ''));
      expect(await listed()).toEqual(['first', 'fork']);
      await suite.runtime.destroy('fork-a');
      expect(await listed()).toEqual(['first', 'fork']);
      await suite.runtime.destroy('fork-b');
      expect(await listed()).toEqual(['first']);
    });

    test('a stop keeps memory when asked, where the backend can', async () => {
      if (!hasMemory()) {
        await expectRefusal(suite.runtime.stop('origin', { memory: true }), 'Unsupported', {
          capability: 'memorySnapshots',
        });
        return;
      }
      await suite.runtime.stop('origin', { memory: true });
      expect(await suite.runtime.get('origin')).toMatchObject({ status: 'stopped' });
      await suite.runtime.start('origin');
      expect(await background('origin')).toBe(1);
      expect(await suite.run('origin', lines.readNote)).toBe('two\n');
    });

    test('a snapshot outlives its VM and can still be restored', async () => {
      await suite.runtime.destroy('origin');
      await suite.runtime.restore('origin/first', { id: 'late' });
      await suite.runtime.start('late');
      expect(await suite.run('late', lines.readNote)).toBe('one\n');
      await suite.runtime.destroy('late');
      await suite.runtime.snapshots.remove('origin/first');
      expect(await suite.runtime.snapshots.list({ vmId: 'origin' })).toEqual([]);
    });
  });
}
