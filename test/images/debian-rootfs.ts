import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { debianRelease, makeDebianRootfs } from '../../scripts/debian-rootfs.ts';

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
  const release = debianRelease();
  const packages = [...new Set(options.packages)].sort();
  const key = createHash('sha256').update(`1 ${release} ${packages}`).digest('hex').slice(0, 16);
  const place = join(cacheDir, `debian-${release}-${key}.tar`);
  if (existsSync(place)) return place;
  await mkdir(cacheDir, { recursive: true });
  const work = await mkdtemp(join(cacheDir, 'making-'));
  try {
    const made = join(work, 'rootfs.tar');
    await makeDebianRootfs(made, work, { packages, variant: 'minbase' });
    await rename(made, place); // Two at once make the same, and either may win.
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return place;
}
