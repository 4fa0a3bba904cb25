import { join, resolve } from 'node:path';
import { createQemuBackend } from '../backends/qemu/index.ts';
import { type Config, loadConfig } from '../config/index.ts';
import { openKernelStore } from '../images/index.ts';
import { defaultStateDir, runtimeDirOf, type StateDir } from '../store/index.ts';
import type { BackendProbe } from '../vm/index.ts';
import type { OpenOptions } from './alcove.ts';
import { type DoctorReport, diagnose, type EngineFinding } from './doctor.ts';
import { systemDoctorHost } from './doctor-host.ts';

export interface DiagnoseThisHostOptions {
  engine: EngineFinding;
  /** As given to `openAlcove`. */
  overrides: Pick<OpenOptions, 'stateDir' | 'backend'>;
  signal?: AbortSignal;
}

/** {@link diagnose} of the host, the configuration and the backend that are really there. */
export async function diagnoseThisHost({
  engine,
  overrides,
  signal,
}: DiagnoseThisHostOptions): Promise<DoctorReport> {
  const config = loadConfig({ overrides });
  const stateDir = engine.state === 'open' ? engine.alcove.stateDir : (config.state_dir ?? defaultStateDir());
  return diagnose({
    engine,
    stateDir: resolve(stateDir),
    host: systemDoctorHost(signal),
    probe: () => probe(config, layoutOf(resolve(stateDir)), engine, signal),
  });
}

function probe(
  { backend, qemu }: Config,
  stateDir: StateDir,
  engine: EngineFinding,
  signal: AbortSignal | undefined,
): Promise<BackendProbe> {
  if (backend === 'memory') {
    const facts = { note: 'a fake for tests: nothing runs in its VMs' };
    return Promise.resolve({ usable: true, version: facts.note, facts, capabilities: {} });
  }
  return createQemuBackend({
    stateDir,
    accel: qemu.accel,
    // What the trial boot needs and leaves lies in the state directory, which is ours only while the engine is open.
    ...(engine.state === 'open' && { trialKernel: () => openKernelStore({ stateDir }).find() }),
  }).probe(signal ? { signal } : {});
}

/** The places of a state directory that the engine has opened, or that nobody has. */
function layoutOf(root: string): StateDir {
  return {
    root,
    runtimeDir: runtimeDirOf(root),
    databasePath: join(root, 'alcove.db'),
    imagesDir: join(root, 'images'),
    kernelsDir: join(root, 'kernels'),
    templatesDir: join(root, 'templates'),
    vmsDir: join(root, 'vms'),
    snapshotsDir: join(root, 'snapshots'),
    tmpDir: join(root, 'tmp'),
    [Symbol.dispose]: () => undefined,
  };
}
