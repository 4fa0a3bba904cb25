import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock, MemoryBackend, type MemoryBackendOptions } from '../../src/backends/memory/index.ts';
import {
  type ImageStore,
  type KernelStore,
  openImageStore,
  openKernelStore,
} from '../../src/images/index.ts';
import { Database, stateDirLayout } from '../../src/store/index.ts';
import { openVmRuntime, type VmRuntime, type VmRuntimeOptions } from '../../src/vm/index.ts';
import { fakeImages, fakeKernels } from './fake-stores.ts';
import { makePlaces } from './make-places.ts';

/** A state directory with a runtime on the memory backend, and the means to lose and reopen it. */
export interface RuntimeFixture extends AsyncDisposable {
  readonly root: string;
  readonly clock: ManualClock;
  readonly images: ReturnType<typeof fakeImages>;
  /** With `stores: 'real'`, what is used instead. */
  readonly realImages: ImageStore;
  readonly realKernels: KernelStore;
  /** What could not be reported to a caller. */
  readonly warnings: string[];
  readonly database: Database;
  /** The backend of the current engine. */
  backend: MemoryBackend;
  runtime: VmRuntime;
  /** Closes the runtime and opens another over the same directory. */
  reopen(options?: Partial<VmRuntimeOptions>): Promise<VmRuntime>;
  /** As {@link reopen}, without a close: what the old one has under way is frozen and never goes on. */
  crash(options?: Partial<VmRuntimeOptions>): Promise<VmRuntime>;
}

/** In memory where there is such a file system: no test loses real power, and a sync to a disk is slow. */
const scratch = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

export const roomyHost = { cores: 8, memoryMiB: 65_536, diskMiB: 1_048_576 };

export async function openFixture(
  options: Partial<VmRuntimeOptions> & {
    backendOptions?: MemoryBackendOptions;
    databasePath?: string;
    /** Where the state directory is made. @default in memory */
    parentDir?: string;
    /** Stores of images and kernels: names only, or files in the state directory. @default 'fake' */
    stores?: 'fake' | 'real';
  } = {},
): Promise<RuntimeFixture> {
  const { backendOptions, databasePath, parentDir = scratch, stores = 'fake', ...given } = options;
  const root = mkdtempSync(join(parentDir, 'alcove-vm-'));
  const places = makePlaces(root);
  const clock = new ManualClock();
  const images = fakeImages('builtin', 'other');
  const stateDir = { ...stateDirLayout(root), [Symbol.dispose]: () => undefined };
  const warnings: string[] = [];
  const database = new Database(databasePath ?? join(root, 'alcove.db'));
  const realImages = openImageStore({ stateDir, database, clock });
  const realKernels = openKernelStore({ stateDir, clock });
  const open = async (backend: MemoryBackend, more: Partial<VmRuntimeOptions>) => {
    const runtime = await openVmRuntime({
      database,
      stateDir: places,
      backends: [backend],
      defaultBackend: 'memory',
      images: stores === 'real' ? realImages : images,
      kernels: stores === 'real' ? realKernels : fakeKernels,
      clock,
      hostFacts: roomyHost,
      hostRoom: () => ({ memoryMiB: 32_768, diskMiB: 524_288 }),
      warn: (message) => warnings.push(message),
      ...given,
      ...more,
    });
    if (stores === 'real') await realImages.mend(); // As the engine does.
    return runtime;
  };
  const backend = new MemoryBackend({ clock, ...backendOptions });
  const fixture: RuntimeFixture = {
    root,
    clock,
    images,
    realImages,
    realKernels,
    warnings,
    database,
    backend,
    runtime: await open(backend, {}),
    async reopen(more = {}) {
      await fixture.runtime.close();
      return fixture.crash(more);
    },
    async crash(more = {}) {
      fixture.backend = await fixture.backend.restarted();
      fixture.runtime = await open(fixture.backend, more);
      return fixture.runtime;
    },
    async [Symbol.asyncDispose]() {
      await fixture.runtime.close();
      database.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
  return fixture;
}
