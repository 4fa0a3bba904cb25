import { MemoryBackend } from '../backends/memory/index.ts';
import { createQemuBackend } from '../backends/qemu/index.ts';
import { type Config, loadConfig } from '../config/index.ts';
import { cancelled, isAlcoveError } from '../errors.ts';
import { destroyLeftRuns } from '../executor/index.ts';
import { type Clock, systemClock } from '../host/index.ts';
import { openImageStore, openKernelStore } from '../images/index.ts';
import { Database, defaultStateDir, openStateDir, type StateDir } from '../store/index.ts';
import { openVmRuntime, type VmBackend, type VmRuntime } from '../vm/index.ts';
import type { Alcove, OpenOptions } from './alcove.ts';
import { Engine } from './engine.ts';
import { warmthOf } from './warmth.ts';

/** How often a locked state directory is tried again, in ms. */
const lockPollMs = 100;

/**
 * Opens the engine over a state directory: takes its lock, adopts the VMs that run, and mends what an earlier engine
 * left.
 *
 * @throws AlcoveError `StateLocked` when another process has it, `StateUnusable`, `StateCorrupt`, `InvalidInput`
 * (configuration), `Cancelled`
 * @example
 * await using alcove = await openAlcove();
 * const { stdout } = await alcove.run({ image: 'builtin' }, { command: ['uname', '-a'] });
 */
export async function openAlcove(options: OpenOptions = {}): Promise<Alcove> {
  const config = loadConfig({ overrides: { stateDir: options.stateDir, backend: options.backend } });
  const stateDir = await waitForStateDir(config.state_dir ?? defaultStateDir(), options);
  let database: Database | undefined;
  let runtime: VmRuntime | undefined;
  try {
    database = new Database(stateDir.databasePath);
    const images = openImageStore({ stateDir, database });
    runtime = await openVmRuntime({
      database,
      stateDir,
      backends: backendsOf(config, stateDir),
      defaultBackend: config.backend,
      images,
      kernels: openKernelStore({ stateDir }),
      limits: limitsOf(config),
      warm: warmthOf(config, options.warm),
    });
    const mended = [...(await images.mend()), ...runtime.mended, ...(await destroyLeftRuns(runtime))];
    return new Engine({ stateDir, database, images, runtime, mended });
  } catch (error) {
    await runtime?.close();
    database?.close();
    stateDir[Symbol.dispose]();
    throw error;
  }
}

/**
 * Every backend whose VMs may lie in this state directory, so that whatever is found there is known to whom it belongs to; the fake
 * one only where it is asked for.
 */
function backendsOf(config: Config, stateDir: StateDir): VmBackend[] {
  const qemu = createQemuBackend({ stateDir, accel: config.qemu.accel });
  return config.backend === 'memory' ? [new MemoryBackend(), qemu] : [qemu];
}

function limitsOf({ limits }: Config) {
  return {
    vms: limits.max_vms,
    ...(limits.memory_mib !== undefined && { memoryMiB: limits.memory_mib }),
    ...(limits.disk_mib !== undefined && { diskMiB: limits.disk_mib }),
  };
}

async function waitForStateDir(
  root: string,
  options: OpenOptions,
  clock: Clock = systemClock,
): Promise<StateDir> {
  const deadline = clock.monotonic() + (options.lockWaitMs ?? 0);
  for (;;) {
    try {
      return openStateDir({ root });
    } catch (error) {
      if (!isAlcoveError(error, 'StateLocked') || clock.monotonic() >= deadline) throw error;
      options.onLocked?.(error);
      await clock.sleep(lockPollMs, options.signal).catch(() => {
        throw cancelled(`waiting for ${root}`, options.signal);
      });
    }
  }
}
