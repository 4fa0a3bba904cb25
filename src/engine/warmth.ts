import type { Config } from '../config/index.ts';
import type { WarmOptions } from '../vm/index.ts';

/** What the library asks for goes over what is configured; asking at all turns the pool on. */
export function warmthOf(
  { warm }: Pick<Config, 'warm'>,
  asked: Partial<WarmOptions> | undefined,
): Partial<WarmOptions> {
  return {
    pool: warm.pool,
    atClose: warm.at_close,
    perImage: warm.per_image,
    perShape: warm.per_shape,
    perSnapshot: warm.per_snapshot,
    max: warm.max,
    ...(warm.memory_mib !== undefined && { memoryMiB: warm.memory_mib }),
    idleMs: warm.idle_ms,
    minFreeMemoryMiB: warm.min_free_memory_mib,
    minFreeDiskMiB: warm.min_free_disk_mib,
    ...(asked && { pool: 'on', ...asked }),
  };
}
