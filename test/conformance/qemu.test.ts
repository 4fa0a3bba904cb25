import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { createQemuBackend } from '../../src/backends/qemu/index.ts';
import { openImageStore, openKernelStore } from '../../src/images/index.ts';
import { Database, openStateDir } from '../../src/store/index.ts';
import { openVmRuntime } from '../../src/vm/index.ts';
import { processesOf } from '../qemu/machine-fixture.ts';
import { describeBackend } from './describe-backend.ts';
import type { ConformanceHarness } from './harness.ts';

async function qemuHarness(): Promise<ConformanceHarness> {
  const root = mkdtempSync(join(tmpdir(), 'alcove-conformance-'));
  const stateDir = openStateDir({ root });
  const database = new Database(stateDir.databasePath);
  return {
    image: 'builtin',
    open: () =>
      openVmRuntime({
        database,
        stateDir,
        backends: [createQemuBackend({ stateDir })],
        defaultBackend: 'qemu',
        images: openImageStore({ stateDir, database }),
        kernels: openKernelStore({ stateDir }),
        warn: (message) => expect.unreachable(message),
      }),
    async cleanUp() {
      expect(processesOf(root)).toEqual([]);
      database.close();
      stateDir[Symbol.dispose]();
      rmSync(root, { recursive: true });
    },
  };
}

describeBackend('qemu', qemuHarness);
