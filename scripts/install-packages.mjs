// Plain JavaScript for old Nodes: also used before the right Node can run.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/**
 * Installs Debian packages after saying which, and what for; ends the process with the command to run by hand when
 * it may not.
 *
 * @param {readonly { debianPackage: string, why: string }[]} missing
 */
export function installPackages(missing) {
  console.error('setup: missing Debian packages:');
  for (const { debianPackage, why } of missing) console.error(`  ${debianPackage.padEnd(18)} ${why}`);
  const packages = [...new Set(missing.map((entry) => entry.debianPackage))];
  const command = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  const root = process.getuid?.() === 0;
  const sudo = !root && existsSync('/usr/bin/sudo') ? ['sudo'] : [];
  if (!existsSync('/usr/bin/apt-get') || !(root || sudo.length > 0)) {
    console.error(`setup: install them as root, then run this again:\n  ${command}`);
    process.exit(1);
  }
  console.error(`setup: ${command}`);
  run([...sudo, 'apt-get', 'update', '-qq']);
  run([...sudo, 'env', 'DEBIAN_FRONTEND=noninteractive', ...command.split(' '), '-qq', '-o=Dpkg::Use-Pty=0']);
}

/** @param {readonly string[]} argv */
function run([command = '', ...args]) {
  const { status } = spawnSync(command, args, { stdio: ['ignore', 2, 2] });
  if (status === 0) return;
  console.error(`setup: ${[command, ...args].join(' ')} failed; its messages are above`);
  process.exit(1);
}
