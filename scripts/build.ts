/** Builds `dist/`: the JavaScript of `src/` and the static guest agent of `agent/`. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { findRust, setUp } from './setup.ts';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = 'x86_64-unknown-linux-gnu';

/** Runs a program with inherited output; ends the process when it fails. */
export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): void {
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], env });
  if (status !== 0) {
    console.error(`${[command, ...args].join(' ')} failed`);
    process.exit(1);
  }
}

/** Runs cargo on the agent with what makes its binary static. */
export function cargo(args: readonly string[]): void {
  const rust = findRust();
  if (!rust) throw new Error('no Rust toolchain; run npm run setup');
  run(
    rust.cargo,
    [...args, '--quiet', '--offline', '--manifest-path', 'agent/Cargo.toml', '--target', target],
    {
      ...process.env,
      RUSTC: rust.rustc,
      // At a fixed address: QEMU keeps translated code by address, and each process of the agent would have its own.
      RUSTFLAGS: '-C target-feature=+crt-static -C relocation-model=static',
    },
  );
}

export function build(): void {
  setUp('build');
  cargo(['build', '--release']);
  mkdirSync(join(root, 'dist/agent'), { recursive: true });
  const built = join(root, 'dist/agent/alcove-agent');
  copyFileSync(join(root, 'agent/target', target, 'release/alcove-agent'), `${built}.new`);
  chmodSync(`${built}.new`, 0o755);
  renameSync(`${built}.new`, built);
  run(join(root, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.build.json']);
  bundleCli();
}

/** The CLI in a few files: finding and reading hundreds of modules would take most of the time of a short command. */
function bundleCli(): void {
  const outdir = join(root, 'dist/bundle');
  const { outputFiles } = buildSync({
    write: false,
    entryPoints: [join(root, 'src/cli/main.ts')],
    outdir,
    bundle: true,
    splitting: true, // What a command does not need is not read.
    platform: 'node',
    format: 'esm',
    target: 'node22.15',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'external',
    // Dependencies that are CommonJS ask for Node's own modules with `require`.
    banner: {
      js: "import { createRequire as alcoveCreateRequire } from 'node:module'; const require = alcoveCreateRequire(import.meta.url);",
    },
    logLevel: 'warning',
  });
  const isMain = ({ path }: { path: string }) => path.endsWith('/main.js');
  // Each in one step, what is imported before what imports it: a CLI may be started meanwhile.
  mkdirSync(outdir, { recursive: true });
  for (const { path, contents } of outputFiles.toSorted((a, b) => Number(isMain(a)) - Number(isMain(b)))) {
    writeFileSync(`${path}.new`, contents);
    renameSync(`${path}.new`, path);
  }
  const made = new Set(outputFiles.map(({ path }) => path));
  for (const name of readdirSync(outdir)) if (!made.has(join(outdir, name))) rmSync(join(outdir, name));
}

if (import.meta.main) build();
