import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError, isAlcoveError } from '../../errors.ts';
import type { FlightContext } from '../../host/index.ts';
import { runTool } from '../../host/index.ts';
import { fetchDebianPackage } from '../debian-package.ts';
import { fullDiskOr } from '../full-disk.ts';
import { networkEnvironment } from '../tool-environment.ts';

/** A kernel as it lies in an unpacked package. */
export interface UnpackedKernel {
  release: string;
  kernelPath: string;
  modulesDir: string;
  package: string;
}

const elsewhere =
  'Install one of your distribution and name it by path: a kernel, and its folder below /lib/modules.';

/**
 * Fetches the distribution's newest kernel for virtual machines and unpacks it below `tmpDir`, as any user: the meta-package
 * `linux-image-cloud-<arch>` names the package of the current release.
 *
 * @throws AlcoveError `KernelNotFound` with the command that helps, `Cancelled`
 */
export async function fetchDebianKernel(tmpDir: string, context: FlightContext): Promise<UnpackedKernel> {
  const name = await newestKernelPackage(tmpDir, context.signal);
  context.report(`fetching ${name}`);
  try {
    await fetchDebianPackage(name, tmpDir, context.signal);
  } catch (error) {
    const known = fullDiskOr(error, tmpDir);
    if (!isAlcoveError(known, 'ToolFailed')) throw known;
    throw new AlcoveError('KernelNotFound', `cannot fetch the package ${name}: ${known.message}`, {
      remedy: 'Look at the network, then run `apt-get update` and try again; or name a kernel by path.',
      cause: error,
    });
  }
  const release = name.replace(/^linux-image-/, '');
  const places = ['lib/modules', 'usr/lib/modules'];
  const top = new Set(await readdir(join(tmpDir, 'unpacked')));
  const modules = top.has('lib') ? places[0] : places[1];
  return {
    release,
    kernelPath: join(tmpDir, 'unpacked/boot', `vmlinuz-${release}`),
    modulesDir: join(tmpDir, 'unpacked', modules ?? '', release),
    package: name,
  };
}

/** Name of the package that the meta-package depends on, of the version apt would install. */
async function newestKernelPackage(tmpDir: string, signal: AbortSignal): Promise<string> {
  const meta = `linux-image-cloud-${process.arch === 'arm64' ? 'arm64' : 'amd64'}`;
  try {
    const { stdout } = await runTool('apt-cache', ['show', '--no-all-versions', meta], {
      signal,
      env: networkEnvironment(tmpDir),
    });
    const name = /^Depends:.*?\b(linux-image-[\w.+-]+)/m.exec(stdout)?.[1];
    if (name !== undefined) return name;
    throw new AlcoveError('KernelNotFound', `the package ${meta} names no kernel`, { remedy: elsewhere });
  } catch (error) {
    if (isAlcoveError(error, 'ToolMissing')) {
      throw new AlcoveError('KernelNotFound', 'no kernel can be fetched: apt is not installed', {
        remedy: elsewhere,
        cause: error,
      });
    }
    if (isAlcoveError(error, 'ToolFailed')) {
      throw new AlcoveError('KernelNotFound', `apt knows no package ${meta}`, {
        remedy: `Run \`apt-get update\` as root, then try again. If that does not help: ${elsewhere}`,
        cause: error,
      });
    }
    throw error;
  }
}
