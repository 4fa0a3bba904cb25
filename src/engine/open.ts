import { createHash, randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { MemoryBackend } from '../backends/memory/index.ts';
import { createQemuBackend } from '../backends/qemu/index.ts';
import { type Config, loadConfig } from '../config/index.ts';
import { cancelled, isAlcoveError } from '../errors.ts';
import { type CacheLimits, type Executor, openExecutor } from '../executor/index.ts';
import { type Clock, systemClock } from '../host/index.ts';
import { openImageStore, openKernelStore } from '../images/index.ts';
import { openSessions, type SessionPool } from '../sessions/index.ts';
import { Database, defaultStateDir, openStateDir, type StateDir } from '../store/index.ts';
import { openVmRuntime, type VmBackend, type VmRuntime } from '../vm/index.ts';
import type { Alcove, OpenOptions } from './alcove.ts';
import { Engine } from './engine.ts';
import { sessionOptionsOf, sessionsOverrides } from './session-settings.ts';
import { warmthOf } from './warmth.ts';

/** Of every guest: other hosts are not supported. */
const guestArchitecture = 'x86_64';

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
  const { stateDir: root, backend } = options;
  const asked = sessionsOverrides(options.sessions);
  const config = loadConfig({ overrides: { stateDir: root, backend, sessions: asked } });
  const stateDir = await waitForStateDir(config.state_dir ?? defaultStateDir(), options);
  let database: Database | undefined;
  let runtime: VmRuntime | undefined;
  let executor: Executor | undefined;
  let sessions: SessionPool | undefined;
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
    const mended = [...(await images.mend()), ...runtime.mended];
    const opened = await openExecutor({
      runtime,
      images,
      database,
      limits: cacheLimitsOf(config),
      platform: { backend: config.backend, architecture: guestArchitecture },
      random: randomBytes,
    });
    executor = opened.executor;
    mended.push(...opened.mended);
    const pool = await openSessions({
      runtime,
      images,
      database,
      options: sessionOptionsOf(config),
      owner: ownerOf(stateDir),
      random: randomBytes,
      warn: (message) => process.emitWarning(message, 'AlcoveWarning'),
    });
    sessions = pool.sessions;
    mended.push(...pool.mended);
    return new Engine({ stateDir, database, images, runtime, executor, sessions, mended });
  } catch (error) {
    await sessions?.close();
    await executor?.close();
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

/** Tells this engine's half-made backups from those of others that share the destination. */
function ownerOf({ root }: StateDir): string {
  return createHash('sha256').update(`${hostname()}:${root}`).digest('hex').slice(0, 16);
}

function limitsOf({ limits }: Config) {
  return {
    vms: limits.max_vms,
    ...(limits.memory_mib !== undefined && { memoryMiB: limits.memory_mib }),
    ...(limits.disk_mib !== undefined && { diskMiB: limits.disk_mib }),
  };
}

function cacheLimitsOf({ cache }: Config): CacheLimits {
  return {
    maxEntries: cache.max_entries,
    maxBytes: cache.max_mib * 2 ** 20,
    reservedBytes: cache.reserved_mib * 2 ** 20,
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
