import { AlcoveError, isAlcoveError } from '../errors.ts';
import type { ExecResult } from '../guest/index.ts';
import { type CallOptions, sessionLabel, type VmInfo } from '../vm/index.ts';
import type { VerifiedArchive } from './backup/backup-store.ts';
import type { SessionsContext } from './context.ts';
import type { BootstrapRecord } from './session.ts';
import { workdir } from './session-options.ts';

/** So much of the head and the tail of what a bootstrap command printed is kept, in bytes. */
const bootstrapOutputBytes = 32 * 1024;

/** So many entries an archive may have to be unpacked: more than a file system of the largest usual disk has inodes. */
const mostEntries = 20_000_000;

export interface MachineRequest {
  sessionId: string;
  vmId: string;
  /** What its workdir has in it. @default what the bootstrap command leaves there */
  archive?: VerifiedArchive;
}

/**
 * Makes a session's machine: running, bootstrapped, its workdir filled. What is left of it when that fails is the caller's to destroy.
 *
 * @throws AlcoveError `BootstrapFailed`, `BackupInvalid`, `Cancelled`, and what making and starting a VM throws
 */
export async function makeMachine(
  context: SessionsContext,
  request: MachineRequest,
  call: CallOptions,
): Promise<BootstrapRecord | undefined> {
  const { runtime, options } = context;
  const { sessionId, vmId, archive } = request;
  const { image, cpus, memoryMiB, diskMiB, network } = options;
  const labels = { [sessionLabel]: sessionId };
  await runtime.create({ id: vmId, image, cpus, memoryMiB, diskMiB, network, labels }, call);
  await context.at('make.begun');
  await startMachine(context, vmId, call);
  await context.at('make.started');
  await makeWorkdir(context, vmId, call);
  const bootstrap = await runBootstrap(context, request, call);
  await context.at('make.bootstrapped');
  if (archive) {
    await fillWorkdir(context, vmId, archive, call);
    await context.at('make.unpacked');
  }
  return bootstrap;
}

export async function startMachine(
  { runtime, metrics }: SessionsContext,
  vmId: string,
  call: CallOptions,
): Promise<void> {
  await runtime.start(vmId, { ...call, onWarm: () => metrics.counts.warmClaims++ });
}

/** Removes a machine that no row names, and gives its place back. One that will not go keeps it; it is found when the next engine opens. */
export async function destroyMachine(context: SessionsContext, vmId: string): Promise<void> {
  try {
    await context.runtime.destroy(vmId);
  } catch (error) {
    // It had not come to be, or is gone already.
    if (await machineOf(context, vmId)) {
      context.warn(
        `could not destroy VM ${vmId}, which no session has any more: ${(error as Error).message}`,
      );
      return;
    }
  }
  context.places.release(vmId);
}

/** What a machine's archive may take of it. */
export function archiveLimits({ options }: SessionsContext): { unpackedBytes: number; entries: number } {
  return { unpackedBytes: options.diskMiB * 2 ** 20, entries: mostEntries };
}

/** For users of an image that are not root, too: as `/tmp` is, everybody in the machine may write there. */
async function makeWorkdir(context: SessionsContext, vmId: string, call: CallOptions): Promise<void> {
  const image = await context.images.resolve(context.options.image);
  const isForAll =
    image.config.user !== '' && image.config.user !== undefined && !/^(root|0)(:|$)/.test(image.config.user);
  const { files } = await context.runtime.guest(vmId, call);
  await files.mkdir(workdir, { parents: true, mode: isForAll ? 0o1777 : 0o755, ...signalOf(call) });
}

async function runBootstrap(
  context: SessionsContext,
  { sessionId, vmId }: MachineRequest,
  call: CallOptions,
): Promise<BootstrapRecord | undefined> {
  const { bootstrapCommand: command, bootstrapTimeoutMs, env } = context.options;
  if (!command) return undefined;
  call.onProgress?.('running the bootstrap command');
  let result: ExecResult;
  try {
    result = await context.runtime.exec(vmId, {
      command,
      cwd: workdir,
      env: { ...env },
      timeoutMs: bootstrapTimeoutMs,
      maxOutputBytes: bootstrapOutputBytes,
      background: 'keep',
      ...signalOf(call),
    });
  } catch (error) {
    if (!isAlcoveError(error, 'CommandTimedOut') && !isAlcoveError(error, 'CommandNotStarted')) throw error;
    context.metrics.counts.bootstrapsFailed++;
    throw bootstrapFailed(sessionId, command, outcomeOf(error), error);
  }
  const { exitCode, stdout, stderr, durationMs } = result;
  if (exitCode !== 0) {
    context.metrics.counts.bootstrapsFailed++;
    throw bootstrapFailed(sessionId, command, { how: String(exitCode), exitCode, stdout, stderr });
  }
  return { command, stdout, stderr, durationMs, endedAtMs: context.clock.now() };
}

interface BootstrapOutcome {
  how: string;
  exitCode?: number;
  stdout: string;
  stderr: string;
}

function outcomeOf(error: AlcoveError): BootstrapOutcome {
  const { stdout, stderr } = (error.details ?? {}) as { stdout?: Uint8Array; stderr?: Uint8Array };
  const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();
  return { how: `no exit code: ${error.message}`, stdout: text(stdout), stderr: text(stderr) };
}

/** The output's end is part of the message: it is what says why. */
function bootstrapFailed(
  sessionId: string,
  command: readonly string[],
  { how, ...outcome }: BootstrapOutcome,
  cause?: AlcoveError,
): AlcoveError<'BootstrapFailed'> {
  const shown = [outcome.stdout, outcome.stderr].map((text) => text.trimEnd().slice(-2000)).filter(Boolean);
  const message = `Bootstrap command ${command.join(' ')} exited with ${how}`;
  return new AlcoveError('BootstrapFailed', [message, ...shown].join('\n'), {
    details: { sessionId, ...outcome },
    cause,
  });
}

/** What the bootstrap command left there is not mixed with what was backed up. */
async function fillWorkdir(
  context: SessionsContext,
  vmId: string,
  archive: VerifiedArchive,
  call: CallOptions,
): Promise<void> {
  call.onProgress?.('unpacking the backup');
  const guest = await context.runtime.guest(vmId, call);
  const signal = signalOf(call);
  await guest.files.remove(workdir, { recursive: true, ...signal });
  try {
    await guest.files.tarIn(workdir, archive.tar(signal), { ...signal, devices: 'refuse' });
  } catch (error) {
    if (!isAlcoveError(error, 'InvalidInput')) throw error;
    throw new AlcoveError('BackupInvalid', `${archive.path}: ${error.message}`, {
      details: { problem: 'refused' },
      cause: error,
    });
  }
  // Onto its disk: what it replaces is about to go.
  await guest.freeze(signal);
  await guest.thaw();
}

export function signalOf({ signal }: CallOptions): { signal?: AbortSignal } {
  return signal ? { signal } : {};
}

/** @returns whether its machine is there, and which */
export async function machineOf(
  context: SessionsContext,
  vmId: string | undefined,
): Promise<VmInfo | undefined> {
  const info = vmId === undefined ? undefined : await context.runtime.get(vmId);
  return info?.status === 'destroyed' ? undefined : info;
}
