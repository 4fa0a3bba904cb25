import { type Config, invalidSetting, type SessionsKey, type SessionsOverride } from '../config/index.ts';
import { builtinImage } from '../images/index.ts';
import type { SessionOptions } from '../sessions/index.ts';

/** Each option's key in the configuration. */
const keys: Readonly<Record<keyof SessionOptions, SessionsKey>> = {
  enabled: 'enabled',
  image: 'image',
  maxVms: 'max_vms',
  shell: 'shell',
  shellArgs: 'shell_args',
  env: 'env',
  idleShutdownMs: 'idle_shutdown_seconds',
  pruneAfterMs: 'prune_after_seconds',
  backupAfterMs: 'backup_after_seconds',
  backupDestination: 'backup_destination',
  backupKeep: 'backup_keep',
  bootstrapCommand: 'bootstrap_command',
  bootstrapTimeoutMs: 'bootstrap_timeout_seconds',
  nixProfile: 'nix_profile',
  stopMode: 'stop_mode',
  maintenanceIntervalMs: 'maintenance_interval_seconds',
  stopIdleForRoom: 'stop_idle_for_room',
  cpus: 'cpus',
  memoryMiB: 'memory_mib',
  diskMiB: 'disk_mib',
  network: 'network',
};

const where = 'the options of openAlcove';

/** What the configuration says about sessions, as the pool takes it. */
export function sessionOptionsOf({ sessions }: Pick<Config, 'sessions'>): SessionOptions {
  const { backup_after_seconds, backup_destination, bootstrap_command, nix_profile } = sessions;
  return {
    enabled: sessions.enabled,
    image: sessions.image ?? builtinImage,
    maxVms: sessions.max_vms,
    shell: sessions.shell,
    shellArgs: sessions.shell_args,
    env: sessions.env,
    idleShutdownMs: milliseconds(sessions.idle_shutdown_seconds),
    pruneAfterMs: milliseconds(sessions.prune_after_seconds),
    ...(backup_after_seconds !== undefined && { backupAfterMs: milliseconds(backup_after_seconds) }),
    ...(backup_destination !== undefined && { backupDestination: backup_destination }),
    backupKeep: sessions.backup_keep,
    ...(bootstrap_command !== undefined && { bootstrapCommand: bootstrap_command }),
    bootstrapTimeoutMs: milliseconds(sessions.bootstrap_timeout_seconds),
    ...(nix_profile !== undefined && { nixProfile: nix_profile }),
    stopMode: sessions.stop_mode,
    maintenanceIntervalMs: milliseconds(sessions.maintenance_interval_seconds),
    stopIdleForRoom: sessions.stop_idle_for_room ? 'yes' : 'no',
    cpus: sessions.cpus,
    memoryMiB: sessions.memory_mib,
    diskMiB: sessions.disk_mib,
    network: sessions.network,
  };
}

/**
 * What the library asks for, as it goes over the configuration. An option that is `undefined` says nothing.
 *
 * @throws AlcoveError `InvalidInput` for an option that there is not. Values are left to the configuration's schema.
 */
export function sessionsOverrides(asked: Partial<SessionOptions> = {}): SessionsOverride[] {
  return Object.entries(asked).flatMap(([option, value]) => {
    const name = ['sessions', option];
    if (!isOption(option)) throw invalidSetting(name, where, 'is no known option');
    if (value === undefined) return [];
    return [{ key: keys[option], value: inUnitOfKey(option, value), name, where }];
  });
}

function isOption(option: string): option is keyof SessionOptions {
  return Object.hasOwn(keys, option);
}

function inUnitOfKey(option: keyof SessionOptions, value: unknown): unknown {
  if (option === 'stopIdleForRoom') {
    if (value !== 'yes' && value !== 'no')
      throw invalidSetting(['sessions', option], where, 'must be "yes" or "no"');
    return value === 'yes';
  }
  return option.endsWith('Ms') && typeof value === 'number' ? value / 1000 : value;
}

/** Without the last digit's error of the multiplication: 1.001 s is 1001 ms, not 1000.9999999999999. */
function milliseconds(seconds: number): number {
  return Number((seconds * 1000).toPrecision(15));
}
