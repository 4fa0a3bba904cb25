import { beforeAll, describe, expect, test } from 'vitest';
import { isAlcoveError } from '../../src/errors.ts';
import type { SpareInfo, WarmSpec } from '../../src/vm/index.ts';
import { lines } from './guest-lines.ts';
import type { Suite } from './harness.ts';

/** Machines made ahead of need, where the backend makes any. Five starts. */
export function describeSpares(suite: Suite): void {
  let makesSpares = false;
  const fill = async (spec: WarmSpec): Promise<SpareInfo> => {
    const [spare] = await suite.runtime.warm.fill(spec.snapshot ? spec : { ...suite.harness.spec, ...spec });
    if (!spare) throw new Error('nothing was made');
    return spare;
  };
  const waits = async ({ id }: SpareInfo) =>
    (await suite.runtime.warm.list()).some((spare) => spare.id === id);
  /** Starts a VM, and says whether it took a warm machine. */
  const takesOne = async (id: string) => {
    const steps: string[] = [];
    await suite.runtime.start(id, { onProgress: (step) => steps.push(step) });
    return steps.includes('taking a warm machine');
  };
  const identity = async (id: string) => (await suite.run(id, lines.identity)).trim().split('\n');

  describe('machines made ahead of need', () => {
    beforeAll(async () => {
      await suite.runtime.warm.drop(); // What the harness has made would be taken first.
      try {
        await fill({});
        makesSpares = true;
      } catch (error) {
        if (!isAlcoveError(error, 'Unsupported')) throw error;
      }
      await suite.runtime.warm.drop();
    });

    test('a VM that takes one of its image is like any other', async () => {
      if (!makesSpares) return;
      const spare = await fill({ image: suite.harness.image });
      expect(spare).toMatchObject({ kind: 'image', filledBy: 'hand' });
      await suite.create('warm-a', { env: { A: 'set' } });
      expect(await takesOne('warm-a')).toBe(true);
      expect(await waits(spare)).toBe(false);
      expect((await identity('warm-a'))[0]).toBe('warm-a');
      expect(await suite.run('warm-a', lines.variables)).toContain('set');
      await suite.run('warm-a', lines.writeOne);
      await suite.runtime.stop('warm-a');
      expect(await takesOne('warm-a')).toBe(false);
      expect(await suite.run('warm-a', lines.readNote)).toBe('one\n');
    });

    test('one of a shape outlives the engine, and is taken by a VM that ran before', async () => {
      if (!makesSpares) return;
      const spare = await fill({});
      expect(spare.kind).toBe('shape');
      await suite.runtime.stop('warm-a');
      await suite.reopen();
      expect(suite.runtime.mended).toEqual([]);
      expect(await waits(spare)).toBe(true);
      expect(await takesOne('warm-a')).toBe(true);
      expect(await suite.run('warm-a', lines.readNote)).toBe('one\n');
      expect((await identity('warm-a'))[0]).toBe('warm-a');
    });

    test('a VM that took one is adopted by the next engine', async () => {
      if (!makesSpares) return;
      await suite.reopen();
      expect(suite.runtime.mended).toEqual([]);
      expect(await suite.runtime.get('warm-a')).toMatchObject({ status: 'running' });
      expect(await suite.run('warm-a', lines.readNote)).toBe('one\n');
    });

    test('copies of one memory snapshot that take one each go on from it, and are apart', async () => {
      if (!makesSpares || !suite.capabilities.memorySnapshots) return;
      const left = suite.runtime.exec('warm-a', { command: lines.background, background: 'keep' });
      await suite.harness.passTime?.(1000);
      await left;
      await suite.runtime.snapshot('warm-a', { id: 'warm' });
      await fill({ snapshot: 'warm-a/warm', count: 2 });
      await suite.reopen();
      const identities = await Promise.all(
        ['warm-b', 'warm-c'].map(async (id) => {
          await suite.runtime.restore('warm-a/warm', { id });
          expect(await takesOne(id)).toBe(true);
          expect((await suite.run(id, lines.countBackground)).trim()).toBe('1');
          expect(await suite.run(id, lines.readNote)).toBe('one\n');
          return identity(id);
        }),
      );
      expect(identities.map(([hostname]) => hostname)).toEqual(['warm-b', 'warm-c']);
      for (const fact of [1, 2]) expect(identities[0]?.[fact]).not.toBe(identities[1]?.[fact]);
    });

    test('one that is dropped is gone, and VMs that took one end as any', async () => {
      if (!makesSpares) return;
      const spare = await fill({});
      await suite.runtime.warm.drop([spare.id]);
      expect(await waits(spare)).toBe(false);
      for (const { id } of await suite.runtime.list({ destroyed: 'leave-out' }))
        if (id.startsWith('warm-')) await suite.runtime.destroy(id);
      for (const { ref } of await suite.runtime.snapshots.list({ vmId: 'warm-a' }))
        await suite.runtime.snapshots.remove(ref);
      await suite.reopen();
      expect(suite.runtime.mended).toEqual([]);
      await suite.runtime.warm.drop();
      expect(suite.runtime.capacity.taken).toEqual({ vms: 0, memoryMiB: 0, diskMiB: 0 });
    });
  });
}
