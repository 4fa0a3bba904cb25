import { z } from 'zod';
import { sessionsSection } from './sessions-section.ts';

const positive = z.int().positive();
const count = z.int().nonnegative();

/**
 * Every setting, with its default. Keys are spelled as in the file; every one may be left out.
 * Limits without a default follow the host: see `docs/config.md`.
 */
export const configSchema = z.strictObject({
  /** Where everything durable lies. Default: `$XDG_STATE_HOME/alcove`, or `~/.local/state/alcove`. */
  state_dir: z.string().min(1).optional(),
  backend: z.enum(['qemu', 'memory']).default('qemu'),
  limits: z
    .strictObject({
      /** VMs that exist at once, those being made included. */
      max_vms: positive.default(256),
      /** Memory of all VMs that run, in MiB. Default: the host's, less 512. */
      memory_mib: positive.optional(),
      /** Virtual size of all disks, in MiB. Default: the size of the file system. */
      disk_mib: positive.optional(),
    })
    .prefault({}),
  /** Machines made ahead of need. */
  warm: z
    .strictObject({
      /** Whether the engine makes them by itself as VMs are started. Those made by hand are used either way. */
      pool: z.enum(['off', 'on']).default('off'),
      /** What becomes of those it made by itself when it closes. */
      at_close: z.enum(['give-up', 'keep']).default('give-up'),
      /** So many wait for each image that VMs were started from lately, … */
      per_image: count.default(1),
      /** … each shape, … */
      per_shape: count.default(1),
      /** … and each memory snapshot. */
      per_snapshot: count.default(1),
      /** Most that wait in all. */
      max: positive.default(8),
      /** Most VM memory of all that wait, in MiB. Default: a quarter of `limits.memory_mib`. */
      memory_mib: positive.optional(),
      /** One that nobody asked for during so many ms is given up. */
      idle_ms: positive.default(600_000),
      /** They are given up when the host has less memory available, in MiB, … */
      min_free_memory_mib: count.default(512),
      /** … or less room on the state directory's file system. */
      min_free_disk_mib: count.default(1024),
    })
    .prefault({}),
  /** Results of actions. */
  cache: z
    .strictObject({
      /** Most results that are kept; the least recently used go first. */
      max_entries: positive.default(64),
      /** Most disk that their snapshots take, in MiB. */
      max_mib: positive.default(20_480),
      /** Evicting for room or age never leaves less than that, in MiB. */
      reserved_mib: count.default(1024),
    })
    .prefault({}),
  /** A machine per session id. */
  sessions: sessionsSection.prefault({}),
  qemu: z
    .strictObject({
      /** `auto` takes KVM where it has been proven to work, else software emulation. `kvm` fails where it does not. */
      accel: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
    })
    .prefault({}),
});

export type Config = z.output<typeof configSchema>;

/** Environment variables and the keys they set. Those of `sessions` follow from its keys: see `sessions-environment.ts`. */
export const environmentKeys: Readonly<Record<string, readonly [string, ...string[]]>> = {
  ALCOVE_STATE_DIR: ['state_dir'],
  ALCOVE_BACKEND: ['backend'],
  ALCOVE_MAX_VMS: ['limits', 'max_vms'],
  ALCOVE_MEMORY_MIB: ['limits', 'memory_mib'],
  ALCOVE_DISK_MIB: ['limits', 'disk_mib'],
  ALCOVE_WARM_POOL: ['warm', 'pool'],
  ALCOVE_QEMU_ACCEL: ['qemu', 'accel'],
};
