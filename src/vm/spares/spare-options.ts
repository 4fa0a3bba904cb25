/** How many machines are made ahead of need, and when they are given up. */
export interface WarmOptions {
  /** Whether the engine makes them by itself, as VMs are started. Those made by hand are used either way. */
  pool: 'on' | 'off';
  /** What becomes of those it made by itself when the engine closes. Those made by hand stay. */
  atClose: 'give-up' | 'keep';
  /** So many wait for each image (with shape and disk size) that VMs were started from lately. */
  perImage: number;
  /** … for each shape of VMs that were started lately. */
  perShape: number;
  /** … for each memory snapshot whose copies were started lately. */
  perSnapshot: number;
  /** Most that wait in all, those made by hand included. */
  max: number;
  /** Most VM memory of all that wait, in MiB. */
  memoryMiB: number;
  /** One that nobody asked for during so many ms is given up. */
  idleMs: number;
  /** They are given up when the host has less memory available than this, in MiB. */
  minFreeMemoryMiB: number;
  /** … or less room on the file system of the state directory. */
  minFreeDiskMiB: number;
}

/** @param limitMiB the limit on the memory of all VMs, of which waiting ones may take a quarter */
export function warmDefaults(limitMiB: number): WarmOptions {
  return {
    pool: 'off',
    atClose: 'give-up',
    perImage: 1,
    perShape: 1,
    perSnapshot: 1,
    max: 8,
    memoryMiB: Math.floor(limitMiB / 4),
    idleMs: 600_000,
    minFreeMemoryMiB: 512,
    minFreeDiskMiB: 1024,
  };
}
