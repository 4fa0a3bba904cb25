import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError, cancelled, isAlcoveError } from '../../errors.ts';
import { type Clock, type FlightContext, packagePath, SingleFlight, systemClock } from '../../host/index.ts';
import { isSealed, type Seal, type StateDir, storageError } from '../../store/index.ts';
import { digestOf, digestOfFile } from '../digest.ts';
import type { GuestKernel, KernelRequest, KernelStore } from '../guest-kernel.ts';
import type { ImageCallOptions } from '../image.ts';
import { fetchDebianKernel } from './debian-kernel.ts';
import { writeInitramfs } from './initramfs.ts';
import { KeptKernelFiles } from './kept-files.ts';
import { readKernelRelease } from './kernel-file.ts';
import { type GuestModule, guestModules, moduleClosure } from './module-closure.ts';
import { PreparedKernels, sealOfProgram } from './prepared-kernel.ts';
import { findStoredKernel, type StoredKernel, storeKernel } from './stored-kernel.ts';

export interface KernelStoreOptions {
  stateDir: StateDir;
  /** The guest agent's program. @default the one this package brings */
  agentPath?: string;
  /** @default the system's */
  clock?: Clock;
}

/** Where `npm run build` puts the agent. */
export const builtAgentPath = packagePath('dist/agent/alcove-agent');

/** The kernels below a state directory, and the initramfs made for each of them. */
export function openKernelStore(options: KernelStoreOptions): KernelStore {
  const { stateDir, agentPath = builtAgentPath, clock = systemClock } = options;
  const fetching = new SingleFlight<StoredKernel>();
  const kept = new KeptKernelFiles(stateDir);
  const prepared = new PreparedKernels({
    kernelsDir: stateDir.kernelsDir,
    agentPath,
    initramfsPathOf: (digest) => kept.placeOf('initramfs', digest),
  });
  let stored: StoredKernel | undefined;

  async function findStored(): Promise<StoredKernel | undefined> {
    if (stored && !(await isSealed(stored.kernelPath, stored.seal))) stored = undefined;
    stored ??= await findStoredKernel(stateDir.kernelsDir);
    return stored;
  }

  async function fetch(context: FlightContext): Promise<StoredKernel> {
    const there = await findStored();
    if (there) return there;
    const tmpDir = await mkdtemp(join(stateDir.tmpDir, 'kernel-'));
    try {
      const unpacked = await fetchDebianKernel(tmpDir, context);
      context.report(`unpacking ${unpacked.package}`);
      const { release } = unpacked;
      await storeKernel(stateDir.kernelsDir, join(tmpDir, 'staged'), {
        release,
        package: unpacked.package,
        createdAtMs: clock.now(),
        data: await readFile(unpacked.kernelPath),
        modules: await moduleClosure(unpacked.modulesDir, {
          wanted: guestModules,
          release,
          signal: context.signal,
        }),
      });
    } finally {
      await rm(tmpDir, { recursive: true, force: true });
    }
    const readBack = await findStored();
    if (readBack) return readBack;
    throw new AlcoveError(
      'StateCorrupt',
      `the kernel written to ${stateDir.kernelsDir} reads back otherwise`,
    );
  }

  /** @returns also the seal of the agent that is in it, from before it was read */
  async function packInitramfs(modules: readonly GuestModule[]): Promise<Initramfs & { agent: Seal }> {
    const { agent, program } = await readAgent(agentPath);
    const data = writeInitramfs(program, modules);
    const initramfsDigest = digestOf(data);
    const there = await kept.locate('initramfs', initramfsDigest);
    if (there !== undefined) await kept.touch(there, clock.now());
    return { initramfsPath: there ?? (await keep(initramfsDigest, data)), initramfsDigest, agent };
  }

  async function keep(digest: string, data: Buffer): Promise<string> {
    const temporary = join(stateDir.tmpDir, `initramfs-${randomUUID()}`);
    try {
      await writeFile(temporary, data, { mode: 0o600, flush: true });
      return await kept.adopt('initramfs', digest, temporary);
    } finally {
      await rm(temporary, { force: true });
    }
  }

  async function byPath(
    kernelPath: string,
    request: KernelRequest,
    signal: AbortSignal | undefined,
  ): Promise<GuestKernel> {
    const release = await readKernelRelease(kernelPath);
    const kernelDigest = await digestGiven('kernelPath', kernelPath);
    const { modulesDir } = request;
    if (modulesDir !== undefined && !(await isDirectory(modulesDir))) {
      throw new AlcoveError('InvalidInput', `no modules folder ${modulesDir}`, {
        details: { field: 'modulesDir' },
      });
    }
    const kernel = { kernelPath, kernelDigest, release };
    if (request.initramfsPath !== undefined)
      return { ...kernel, ...(await givenInitramfs(request.initramfsPath)) };
    const modules = modulesDir
      ? await moduleClosure(modulesDir, { wanted: guestModules, release, signal })
      : [];
    const { initramfsPath, initramfsDigest } = await packInitramfs(modules);
    return { ...kernel, initramfsPath, initramfsDigest };
  }

  async function ofStored(kernel: StoredKernel, given: string | undefined): Promise<GuestKernel> {
    const { kernelPath, manifest, modules } = kernel;
    const known = { kernelPath, kernelDigest: manifest.kernel.digest, release: manifest.release };
    if (given !== undefined) return { ...known, ...(await givenInitramfs(given)) };
    const { agent, ...initramfs } = await packInitramfs(modules);
    const guest = { ...known, ...initramfs };
    await prepared.remember(kernel, guest, agent);
    return guest;
  }

  return {
    resolve: (request: KernelRequest = {}, call: ImageCallOptions = {}) =>
      typed(stateDir, call.signal, async () => {
        if (request.kernelPath !== undefined) return byPath(request.kernelPath, request, call.signal);
        if (request.modulesDir !== undefined) {
          throw new AlcoveError('InvalidInput', 'modules were given without the kernel they are for', {
            remedy: 'Give kernelPath too.',
            details: { field: 'modulesDir' },
          });
        }
        const { initramfsPath } = request;
        const known = initramfsPath === undefined ? await prepared.find(clock.now()) : undefined;
        if (known) return known;
        const there = (await findStored()) ?? (await fetching.run('getting a guest kernel', call, fetch));
        return ofStored(there, initramfsPath);
      }),
    find: () =>
      typed(stateDir, undefined, async () => {
        const known = await prepared.find(clock.now());
        if (known) return known;
        const there = await findStored();
        return there && ofStored(there, undefined);
      }),
    locate: (kind, digest) => typed(stateDir, undefined, () => kept.locate(kind, digest)),
    adopt: (kind, digest, path) => typed(stateDir, undefined, () => kept.adopt(kind, digest, path)),
    list: () => typed(stateDir, undefined, () => kept.list()),
    remove: (file) => typed(stateDir, undefined, () => kept.remove(file)),
  };
}

/** Turns what a file system or a signal says into the errors that callers know. */
async function typed<T>(
  stateDir: StateDir,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isAlcoveError(error)) throw error;
    if (signal?.aborted) throw cancelled('getting a guest kernel', signal);
    throw storageError(stateDir.root, error);
  }
}

type Initramfs = Pick<GuestKernel, 'initramfsPath' | 'initramfsDigest'>;

async function givenInitramfs(initramfsPath: string): Promise<Initramfs> {
  return { initramfsPath, initramfsDigest: await digestGiven('initramfsPath', initramfsPath) };
}

async function readAgent(agentPath: string): Promise<{ agent: Seal; program: Buffer }> {
  try {
    return { agent: await sealOfProgram(agentPath), program: await readFile(agentPath) };
  } catch (error) {
    throw new AlcoveError('KernelNotFound', `cannot read the guest agent ${agentPath}`, {
      remedy: 'Run `npm run build` in a clone of Alcove, or install the package again.',
      cause: error,
    });
  }
}

async function digestGiven(field: 'kernelPath' | 'initramfsPath', path: string): Promise<string> {
  try {
    return await digestOfFile(path);
  } catch (error) {
    throw new AlcoveError('InvalidInput', `cannot read ${path}: ${(error as Error).message}`, {
      details: { field },
      cause: error,
    });
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}
