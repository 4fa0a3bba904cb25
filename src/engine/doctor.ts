import { AlcoveError, isAlcoveError } from '../errors.ts';
import type { StateDirLayout } from '../store/index.ts';
import type { BackendProbe } from '../vm/index.ts';
import type { Alcove } from './alcove.ts';
import {
  checkAgent,
  checkBackend,
  checkEngine,
  checkImage,
  checkKernel,
  checkNode,
  checkRuntimeDir,
  checkStateDir,
  checkTools,
} from './doctor-checks.ts';
import type { DoctorHost } from './doctor-host.ts';

/** What `alcove doctor` says: every requirement, found or not, and what mends it. */
export interface DoctorReport {
  /** Whether VMs can run here. */
  usable: boolean;
  checks: DoctorCheck[];
}

export interface DoctorCheck {
  name: string;
  /** `missing` stops VMs from running; `degraded` only makes something slower or absent. */
  state: 'ok' | 'degraded' | 'missing';
  /** What was found, e.g. a version. */
  found: string;
  /** The exact command that mends it. */
  remedy?: string;
}

/** The engine of the state directory, or why there is none; `StateLocked` is another process at work, not a defect. */
export type EngineFinding = { state: 'open'; alcove: Alcove } | { state: 'closed'; error: AlcoveError };

export interface DiagnoseOptions {
  engine: EngineFinding;
  /** Of the state directory in question; of an open engine its own. */
  layout: Pick<StateDirLayout, 'root' | 'runtimeDir' | 'kernelsDir'>;
  host: DoctorHost;
  /** Asks the backend that VMs would run on; the answer may take a trial boot. */
  probe: () => Promise<BackendProbe>;
}

/**
 * Looks at everything Alcove needs of this host and says of each whether it is there, and the command that mends it. What
 * one check finds does not keep the others from being made; it never rejects because something is missing.
 */
export async function diagnose({ engine, layout, host, probe }: DiagnoseOptions): Promise<DoctorReport> {
  const kernel = await checkKernel(host, layout.kernelsDir);
  const checks = [
    checkNode(host),
    ...(await checkTools(host, kernel.state === 'ok' ? 'kernel present' : 'kernel to be fetched')),
    ...checkBackend(await askBackend(probe), engine),
    await checkAgent(host),
    kernel,
    ...(engine.state === 'open' ? [await checkImage(engine.alcove)] : []),
    await checkStateDir(host, layout.root),
    checkRuntimeDir(layout.runtimeDir),
    checkEngine(engine),
  ];
  return { usable: checks.every(({ state }) => state !== 'missing'), checks };
}

/** A probe should say what is wrong, not throw; one that throws all the same is a finding, too. */
async function askBackend(probe: () => Promise<BackendProbe>): Promise<BackendProbe> {
  try {
    return await probe();
  } catch (error) {
    if (isAlcoveError(error, 'Cancelled')) throw error;
    const { message, remedy } =
      error instanceof AlcoveError
        ? error
        : new AlcoveError('Internal', String((error as Error).message ?? error));
    return { usable: false, reason: message, remedy };
  }
}
