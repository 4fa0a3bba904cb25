// Runs a TypeScript script of this repository on a Node that can: `node scripts/with-setup.mjs SCRIPT [ARGS]`.
// Plain JavaScript for old Nodes: this is the first thing that runs in a fresh clone. It installs the npm packages
// when the lock file has changed, and then hands over to the Node that they bring.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installPackages } from './install-packages.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [script = 'scripts/setup.ts', ...args] = process.argv.slice(2);

installModules();
const node = findNode();
const bin = join(root, 'node_modules', '.bin');
const child = spawn(node, ['--disable-warning=ExperimentalWarning', join(root, script), ...args], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${dirname(node)}:${bin}:${process.env.PATH ?? ''}` },
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));

function installModules() {
  const digest = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  const stamp = join(root, 'node_modules', '.installed-lock');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return;
  console.error('setup: installing npm packages …');
  const npm = process.env.npm_execpath;
  // Not `npm ci`: that refuses a lock file that lacks optional packages of other platforms, which some registries do not carry.
  const flags = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'];
  const result =
    npm && /\.c?js$/.test(npm)
      ? spawnSync(process.execPath, [npm, ...flags], { cwd: root, stdio: ['ignore', 2, 2] })
      : spawnSync('npm', flags, { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) {
    console.error('setup: npm install failed; its messages are above');
    process.exit(1);
  }
  writeFileSync(stamp, digest);
}

function findNode() {
  const brought = join(root, 'node_modules/node/bin/node');
  const { stderr } = spawnSync(brought, ['--version'], { encoding: 'utf8' });
  if (/libatomic\.so/.test(stderr ?? '')) {
    installPackages([{ debianPackage: 'libatomic1', why: 'lets the Node of the npm registry start' }]);
  }
  for (const candidate of [brought, process.execPath]) {
    const version = spawnSync(candidate, ['--version'], { encoding: 'utf8' }).stdout ?? '';
    const [major = 0, minor = 0] = version.slice(1).split('.').map(Number);
    if (major > 22 || (major === 22 && minor >= 18)) return candidate;
  }
  console.error('setup: no Node that runs TypeScript was found; install Node 22.18 or newer');
  process.exit(1);
}
