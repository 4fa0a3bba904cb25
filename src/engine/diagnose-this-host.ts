import { createQemuBackend } from '../backends/qemu/index.ts';
import { type Config, loadConfig } from '../config/index.ts';
import { openKernelStore } from '../images/index.ts';
import { defaultStateDir, type StateDirLayout, stateDirLayout } from '../store/index.ts';
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
  const root = engine.state === 'open' ? engine.alcove.stateDir : (config.state_dir ?? defaultStateDir());
  const layout = stateDirLayout(root);
  return diagnose({
    engine,
    layout,
    host: systemDoctorHost(signal),
    probe: () => probe(config, layout, engine, signal),
  });
}

function probe(
  { backend, qemu }: Config,
  stateDir: StateDirLayout,
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
    ...(engine.state === 'open' && {
      trialKernel: () =>
        openKernelStore({ stateDir: { ...stateDir, [Symbol.dispose]: () => undefined } }).find(),
    }),
  }).probe(signal ? { signal } : {});
}
