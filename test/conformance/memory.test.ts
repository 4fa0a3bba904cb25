import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { ManualClock, MemoryBackend, type MemoryBackendOptions } from '../../src/backends/memory/index.ts';
import { Database } from '../../src/store/index.ts';
import { openVmRuntime } from '../../src/vm/index.ts';
import { fakeImages, fakeKernels } from '../vm/fake-stores.ts';
import { makePlaces } from '../vm/make-places.ts';
import { roomyHost } from '../vm/runtime-fixture.ts';
import { describeBackend } from './describe-backend.ts';
import type { ConformanceHarness } from './harness.ts';
import { scriptGuestLines } from './memory-guest-lines.ts';

/** @param fill how many machines are made ahead of need for the image, and for any, whenever an engine opens */
async function memoryHarness(options: MemoryBackendOptions = {}, fill = 0): Promise<ConformanceHarness> {
  const root = mkdtempSync(join(tmpdir(), 'alcove-conformance-'));
  const stateDir = makePlaces(root);
  const database = new Database(join(root, 'alcove.db'));
  const clock = new ManualClock();
  let backend = new MemoryBackend({ clock, ...options });
  scriptGuestLines(() => backend);
  return {
    image: 'builtin',
    passTime: (ms) => clock.advance(ms),
    async open() {
      backend = await backend.restarted();
      const runtime = await openVmRuntime({
        database,
        stateDir,
        backends: [backend],
        defaultBackend: 'memory',
        images: fakeImages('builtin'),
        kernels: fakeKernels,
        clock,
        hostFacts: roomyHost,
        warn: (message) => expect.unreachable(message),
        warm: { pool: fill > 0 ? 'on' : 'off', max: 8 + 2 * fill, perImage: fill, perShape: fill },
      });
      if (fill > 0 && !(await runtime.warm.list()).length) {
        await runtime.warm.fill({ image: 'builtin', count: fill });
        await runtime.warm.fill({ count: fill });
      }
      return runtime;
    },
    async cleanUp() {
      expect(backend.running).toEqual([]);
      database.close();
      rmSync(root, { recursive: true });
    },
  };
}

describeBackend('memory', () => memoryHarness());
describeBackend('memory, whose snapshots build on each other', () => memoryHarness({ incremental: 'yes' }));
describeBackend('memory, without any capability', () => memoryHarness({ capabilities: {} }));
describeBackend('memory, whose machines are made ahead of need', () => memoryHarness({}, 10));
