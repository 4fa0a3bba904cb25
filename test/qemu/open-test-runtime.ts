import { createQemuBackend, type QemuBackendOptions } from '../../src/backends/qemu/index.ts';
import { openImageStore, openKernelStore } from '../../src/images/index.ts';
import type { Database, StateDir, StateDirLayout } from '../../src/store/index.ts';
import { openVmRuntime, type VmRuntime, type VmRuntimeOptions } from '../../src/vm/index.ts';

/** A runtime over real machines. @param over a state directory that somebody has locked, and its database */
export async function openTestRuntime(
  { stateDir: layout, database }: { stateDir: StateDirLayout; database: Database },
  backend: Partial<QemuBackendOptions>,
  options: Partial<VmRuntimeOptions>,
): Promise<VmRuntime> {
  const stateDir: StateDir = { ...layout, [Symbol.dispose]: () => undefined };
  return openVmRuntime({
    stateDir,
    database,
    images: openImageStore({ stateDir, database }),
    kernels: openKernelStore({ stateDir }),
    backends: [createQemuBackend({ stateDir, accel: 'tcg', ...backend })],
    defaultBackend: 'qemu',
    retentionMs: 0, // Ids are used again and again.
    ...options,
  });
}
