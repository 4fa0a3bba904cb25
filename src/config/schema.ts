import { z } from 'zod';

const positive = z.int().positive();

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
  qemu: z
    .strictObject({
      /** `auto` takes KVM where it has been proven to work, else software emulation. `kvm` fails where it does not. */
      accel: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
    })
    .prefault({}),
});

export type Config = z.output<typeof configSchema>;

/** Environment variables and the keys they set. */
export const environmentKeys: Readonly<Record<string, readonly [string, ...string[]]>> = {
  ALCOVE_STATE_DIR: ['state_dir'],
  ALCOVE_BACKEND: ['backend'],
  ALCOVE_MAX_VMS: ['limits', 'max_vms'],
  ALCOVE_MEMORY_MIB: ['limits', 'memory_mib'],
  ALCOVE_DISK_MIB: ['limits', 'disk_mib'],
  ALCOVE_QEMU_ACCEL: ['qemu', 'accel'],
};
