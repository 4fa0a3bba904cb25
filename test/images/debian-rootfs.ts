import { createHash } from 'node:crypto';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '../../src/host/index.ts';

/** Kept between runs: making one takes half a minute. Not below `TMPDIR`, which must be empty after a run. */
const cacheDir = '/tmp/alcove-test-cache';

/**
 * A tar with a Debian root filesystem of the machine's own release, from the package sources the machine is set up with,
 * made by mmdebstrap on first use. Needs root.
 *
 * @param options.packages besides the essential ones and apt
 * @returns its path; shared, so only to be read
 */
export async function debianRootfs(options: { packages: readonly string[] }): Promise<string> {
  const release = codename();
  const packages = [...new Set(options.packages)].sort();
  const key = createHash('sha256').update(`1 ${release} ${packages}`).digest('hex').slice(0, 16);
  const place = join(cacheDir, `debian-${release}-${key}.tar`);
  if (existsSync(place)) return place;
  await mkdir(cacheDir, { recursive: true });
  const work = await mkdtemp(join(cacheDir, 'making-'));
  try {
    const made = join(work, 'rootfs.tar');
    const include = packages.length > 0 ? [`--include=${packages.join(',')}`] : [];
    await runTool(
      'mmdebstrap',
      ['--variant=minbase', '--skip=check/empty', ...include, release, made, ...sources()],
      { env: { HOME: process.env.HOME, TMPDIR: work } },
    );
    await rename(made, place); // Two at once make the same, and either may win.
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return place;
}

function codename(): string {
  const found = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (found === undefined) throw new Error('/etc/os-release names no release');
  return found;
}

/** The machine's own package sources; mmdebstrap takes such files as they are. */
function sources(): string[] {
  return ['/etc/apt/sources.list', ...globSync('/etc/apt/sources.list.d/*.{list,sources}')].filter((path) =>
    existsSync(path),
  );
}
