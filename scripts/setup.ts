/** Makes the machine ready: says which Debian packages are missing and what for, and installs them. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { toolPath } from '../src/host/run-tool.ts';
import { installPackages } from './install-packages.mjs';

export type Purpose = 'build' | 'run' | 'test';

interface Requirement {
  debianPackage: string;
  /** What it is needed for, in words. */
  why: string;
  purpose: Purpose;
  present: () => boolean;
}

const requirements: readonly Requirement[] = [
  { debianPackage: 'gcc', why: 'links the guest agent', purpose: 'build', present: tool('cc') },
  { debianPackage: 'libc6-dev', why: 'links the guest agent', purpose: 'build', present: hasStaticLibc },
  { debianPackage: 'cargo', why: 'builds the guest agent', purpose: 'build', present: () => !!findRust() },
  { debianPackage: 'rustc', why: 'builds the guest agent', purpose: 'build', present: () => !!findRust() },
  { debianPackage: 'qemu-system-x86', why: 'runs VMs', purpose: 'run', present: tool('qemu-system-x86_64') },
  { debianPackage: 'qemu-utils', why: 'looks after disks', purpose: 'run', present: tool('qemu-img') },
  { debianPackage: 'e2fsprogs', why: 'makes file systems', purpose: 'run', present: tool('mkfs.ext4') },
  { debianPackage: 'squashfs-tools', why: 'packs images', purpose: 'run', present: tool('mksquashfs') },
  { debianPackage: 'skopeo', why: 'pulls OCI images', purpose: 'run', present: tool('skopeo') },
  { debianPackage: 'busybox-static', why: 'is the built-in image', purpose: 'run', present: tool('busybox') },
  {
    debianPackage: 'cpio',
    why: 'packs the hand-written peer of the benches',
    purpose: 'test',
    present: tool('cpio'),
  },
  { debianPackage: 'xz-utils', why: 'unpacks archives', purpose: 'run', present: tool('xz') },
  {
    debianPackage: 'mmdebstrap',
    why: 'makes a Debian test image',
    purpose: 'test',
    present: tool('mmdebstrap'),
  },
  {
    debianPackage: 'docker-registry',
    why: 'is a registry to test against',
    purpose: 'test',
    present: tool('docker-registry'),
  },
  {
    debianPackage: 'umoci',
    why: 'checks images against another tool',
    purpose: 'test',
    present: tool('umoci'),
  },
  {
    debianPackage: 'git',
    why: 'says what .gitignore files leave out',
    purpose: 'test',
    present: tool('git'),
  },
  { debianPackage: 'attr', why: 'checks extended attributes', purpose: 'test', present: tool('getfattr') },
  { debianPackage: 'libcap2-bin', why: 'checks file capabilities', purpose: 'test', present: tool('setcap') },
];

/** Everything a purpose needs, each purpose including the ones before it. */
const included: Record<Purpose, readonly Purpose[]> = {
  build: ['build'],
  run: ['build', 'run'],
  test: ['build', 'run', 'test'],
};

/** Installs what is missing; ends the process with a message when that is impossible. */
export function setUp(purpose: Purpose): void {
  const missing = requirements.filter((r) => included[purpose].includes(r.purpose) && !r.present());
  if (missing.length === 0) return;
  installPackages(missing);
  const still = missing.filter((r) => !r.present());
  if (still.length > 0)
    fail(`still missing after the install: ${still.map((r) => r.debianPackage).join(', ')}`);
}

export interface Rust {
  cargo: string;
  rustc: string;
}

let rustOnce: Rust | undefined;

/**
 * The first cargo and rustc on the search path that really work (a rustup proxy without its toolchain answers
 * with an error) and are at least 1.63.
 */
export function findRust(): Rust | undefined {
  if (rustOnce) return rustOnce;
  for (const dir of toolPath().split(':')) {
    const candidate = { cargo: join(dir, 'cargo'), rustc: join(dir, 'rustc') };
    if (!existsSync(candidate.cargo) || !existsSync(candidate.rustc)) continue;
    const cargo = spawnSync(candidate.cargo, ['--version'], { encoding: 'utf8' });
    const rustc = spawnSync(candidate.rustc, ['--version'], { encoding: 'utf8' });
    const minor = Number(/^rustc 1\.(\d+)/.exec(rustc.stdout ?? '')?.[1] ?? 0);
    if (cargo.status === 0 && rustc.status === 0 && minor >= 63) {
      rustOnce = candidate;
      return candidate;
    }
  }
  return undefined;
}

function tool(name: string): () => boolean {
  return () =>
    toolPath()
      .split(':')
      .some((dir) => isExecutable(join(dir, name)));
}

function hasStaticLibc(): boolean {
  const found = spawnSync('cc', ['-print-file-name=libc.a'], { encoding: 'utf8' }).stdout?.trim() ?? '';
  return found.startsWith('/') && existsSync(found);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function fail(message: string): never {
  console.error(`setup: ${message}`);
  process.exit(1);
}

if (import.meta.main) {
  setUp('test');
  console.error('setup: everything is there');
}
