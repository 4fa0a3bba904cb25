import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AlcoveError, isAlcoveError } from '../../errors.ts';
import { runTool } from '../../host/index.ts';
import type { CgroupPlaces } from './cgroup-places.ts';
import { parseQemuVersion, type QemuVersion } from './qemu-version.ts';
import { currentPlaces } from './sweep.ts';
import { type UidRange, uidRange } from './unprivileged-user.ts';

/** What the probe found out of this host, and every VM then relies on. */
export interface QemuHost {
  qemu: QemuVersion;
  programs: QemuPrograms;
  /** `undefined`: the engine is not root, QEMU runs as the same user. */
  uids: UidRange | undefined;
  cgroups: CgroupPlaces;
}

/** Programs, by name or path. */
export interface QemuPrograms {
  system: string;
  img: string;
}

/** What does not come from programs; injected by tests. */
export interface HostFacts {
  /** As Node says it, e.g. `x64`. */
  arch: string;
  uid: number;
  /** Content of `/proc/self/uid_map`. */
  uidMap: string;
  cgroups: CgroupPlaces;
}

export function readHostFacts(): HostFacts {
  return {
    arch: process.arch,
    uid: process.getuid?.() ?? -1,
    uidMap: readFileSync('/proc/self/uid_map', 'utf8'),
    cgroups: currentPlaces(),
  };
}

const oldestMajor = 7;

/**
 * Looks for what the backend needs.
 *
 * @throws AlcoveError `BackendUnavailable`, with what is missing and how to get it
 */
export async function probeHost(
  programs: QemuPrograms,
  facts: HostFacts,
  signal?: AbortSignal,
): Promise<QemuHost> {
  if (facts.arch !== 'x64')
    throw unavailable(`it runs on x86_64 hosts only, and this is ${facts.arch}`, 'Use an x86_64 host.');
  const options = signal ? { signal } : {};
  try {
    const [version, dirs] = await Promise.all([
      runTool(programs.system, ['--version'], options),
      runTool(programs.system, ['-L', 'help'], options),
      runTool(programs.img, ['--version'], options),
      runTool('mkfs.ext4', ['-V'], options),
    ]);
    const parsed = parseQemuVersion(version.stdout);
    if (!parsed || parsed.major < oldestMajor) {
      throw unavailable(
        `QEMU ${oldestMajor}.0 or newer is needed, and there is ${parsed?.text ?? version.stdout.trim()}`,
        'Install a newer QEMU.',
      );
    }
    const qboot = dirs.stdout
      .split('\n')
      .some((dir) => dir !== '' && existsSync(join(dir.trim(), 'qboot.rom')));
    return hostOf({ ...parsed, qboot }, programs, facts);
  } catch (error) {
    if (isAlcoveError(error, 'ToolMissing')) throw unavailable(error.message, error.remedy, error);
    if (isAlcoveError(error, 'ToolFailed')) throw unavailable(error.message, 'Reinstall QEMU.', error);
    throw error;
  }
}

/** @throws AlcoveError `BackendUnavailable` of a root engine whose VMs could not give up root */
export function hostOf(qemu: QemuVersion, programs: QemuPrograms, facts: HostFacts): QemuHost {
  const uids = facts.uid === 0 ? requireUids(facts.uidMap) : undefined;
  return { qemu, programs, uids, cgroups: facts.cgroups };
}

/** A root engine whose VMs could not give up root is not started at all. */
function requireUids(uidMap: string): UidRange {
  const range = uidRange(uidMap);
  if (range) return range;
  throw unavailable(
    'the engine is root in a user namespace that has no ids for VMs to run as',
    'Run it as an ordinary user, or give the namespace 65,536 ids.',
  );
}

function unavailable(what: string, remedy: string, cause?: unknown): AlcoveError<'BackendUnavailable'> {
  return new AlcoveError('BackendUnavailable', `the qemu backend cannot be used: ${what}`, { remedy, cause });
}
