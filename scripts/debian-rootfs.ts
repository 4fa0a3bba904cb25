/** Root filesystems made of Debian packages, by mmdebstrap. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { runTool } from '../src/host/index.ts';

export interface DebianRootfs {
  packages: readonly string[];
  /** `minbase`: a whole small system, the essential packages and apt besides. `extract`: the files of the packages and of those they depend on; nothing of them is run. */
  variant: 'minbase' | 'extract';
  /** Patterns of dpkg's `path-exclude`: files that are not unpacked. */
  leaveOut?: readonly string[];
}

/**
 * Writes a tar with a root filesystem of the machine's own release, from the package sources the machine is set up with.
 *
 * @param workDir for what it makes in between
 */
export async function makeDebianRootfs(
  tar: string,
  workDir: string,
  { packages, variant, leaveOut = [] }: DebianRootfs,
): Promise<void> {
  const release = debianRelease();
  const options = [
    `--variant=${variant}`,
    '--skip=check/empty',
    ...(packages.length > 0 ? [`--include=${packages.join(',')}`] : []),
    ...leaveOut.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
  ];
  await runTool('mmdebstrap', [...options, release, tar, ...sourcesOf(release)], {
    env: { HOME: process.env.HOME, TMPDIR: workDir },
  });
}

/** The code name of this machine's release, as `bookworm`. */
export function debianRelease(): string {
  const found = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (found === undefined) throw new Error('/etc/os-release names no release');
  return found;
}

/** The machine's own sources of the release, for mmdebstrap to take as they are. Others (of a single vendor) would bring packages of their own under Debian's names. */
function sourcesOf(release: string): string[] {
  const ofRelease = new RegExp(`(^|\\s)${release}(-[a-z]+)?(\\s|$)`, 'm');
  return ['/etc/apt/sources.list', ...globSync('/etc/apt/sources.list.d/*.{list,sources}')].filter(
    (path) => existsSync(path) && ofRelease.test(readFileSync(path, 'utf8')),
  );
}
