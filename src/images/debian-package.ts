import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../errors.ts';
import { runTool } from '../host/index.ts';
import { networkEnvironment } from './tool-environment.ts';

/**
 * Downloads a package that apt knows and unpacks it to `<tmpDir>/unpacked`, as any user. apt checks its signature.
 *
 * @throws AlcoveError `ToolMissing`, `ToolFailed`, `Cancelled`
 */
export async function fetchDebianPackage(name: string, tmpDir: string, signal: AbortSignal): Promise<string> {
  const downloads = join(tmpDir, 'download');
  const unpacked = join(tmpDir, 'unpacked');
  await mkdir(downloads);
  await runTool('apt-get', ['download', '--quiet', name], {
    cwd: downloads,
    signal,
    env: networkEnvironment(tmpDir),
  });
  const file = (await readdir(downloads)).find((entry) => entry.endsWith('.deb'));
  if (file === undefined) throw new AlcoveError('ToolFailed', `apt-get downloaded no package ${name}`);
  await runTool('dpkg-deb', ['--extract', join(downloads, file), unpacked], { signal });
  return unpacked;
}
