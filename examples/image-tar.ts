/** The root filesystem that the examples run in: gcc, make, node and npm. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { root } from '../scripts/build.ts';
import { type DebianRootfs, debianRelease, makeDebianRootfs } from '../scripts/debian-rootfs.ts';
import { runTool } from '../src/host/index.ts';

/** What the pipelines call it. */
export const exampleImage = 'alcove-examples';

/** Unpacked only: 16 s and 195 MB, where a whole Debian with the same is 31 s and 405 MB, and Debian's npm alone 400 packages more. */
const recipe: DebianRootfs = {
  variant: 'extract',
  packages: [
    ...['base-files', 'dash', 'coreutils', 'diffutils', 'findutils', 'grep', 'sed'],
    ...['gcc', 'libc6-dev', 'make', 'nodejs'],
  ],
  leaveOut: [
    ...['/usr/share/doc/*', '/usr/share/info/*', '/usr/share/locale/*', '/usr/share/man/*'],
    // Half of gcc and binutils: link-time optimisation, sanitizers, a profiler, a second linker.
    ...['*/lto1', '*-lto-dump-*', '*gprofng*', '*-dwp', '*-ld.gold'],
    ...['*/libasan.*', '*/libhwasan.*', '*/liblsan.*', '*/libtsan.*', '*/libubsan.*'],
  ],
};
/** The last that runs on the node of Debian 12. */
const npm = 'npm@10';

/**
 * Makes the tar when it is not there yet. It is kept in `build/`.
 *
 * @returns its path; shared, so only to be read
 */
export async function exampleImageTar(onProgress: (step: string) => void): Promise<string> {
  const release = debianRelease();
  const key = createHash('sha256')
    .update(JSON.stringify([2, release, recipe, npm]))
    .digest('hex')
    .slice(0, 16);
  const place = join(root, 'build', `example-image-${key}.tar`);
  if (existsSync(place)) return place;
  mkdirSync(join(root, 'build'), { recursive: true });
  const work = mkdtempSync(join(root, 'build/making-example-image-'));
  try {
    const tar = join(work, 'rootfs.tar');
    onProgress(`unpacking Debian packages (${release}: gcc, make, node)`);
    await makeDebianRootfs(tar, work, recipe);
    onProgress(`adding ${npm}`);
    const added = join(work, 'added');
    await addNpm(added, work);
    addRoot(added);
    // Only what is new: `docker import` refuses a tar that has a path twice.
    const paths = ['./etc/passwd', './etc/group', './usr/bin/npm', './usr/lib/node_modules'];
    await runTool('tar', ['-C', added, '--owner=0', '--group=0', '-rf', tar, ...paths]);
    renameSync(tar, place); // Two at once make the same, and either may win.
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return place;
}

/** As the registry has it, under the name by which a shell finds it. */
async function addNpm(added: string, work: string): Promise<void> {
  const modules = join(added, 'usr/lib/node_modules/npm');
  mkdirSync(modules, { recursive: true });
  mkdirSync(join(added, 'usr/bin'));
  const { stdout } = await runTool('npm', ['pack', '--silent', '--pack-destination', work, npm], {
    env: { ...process.env, TMPDIR: work }, // The user's, for which registry and the way to it.
  });
  await runTool('tar', ['-C', modules, '--strip-components=1', '-xf', join(work, stdout.trim())]);
  chmodSync(join(modules, 'bin/npm-cli.js'), 0o755);
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(added, 'usr/bin/npm'));
}

/** The user that Debian's scripts would have made. */
function addRoot(added: string): void {
  mkdirSync(join(added, 'etc'));
  writeFileSync(join(added, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(added, 'etc/group'), 'root:x:0:\n');
}
