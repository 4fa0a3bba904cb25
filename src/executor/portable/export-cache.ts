import { createHash } from 'node:crypto';
import { AlcoveError } from '../../errors.ts';
import type { SetPart } from '../../vm/index.ts';
import type { CacheCallOptions } from '../cache.ts';
import type { ExecutorContext } from '../context.ts';
import { findEntry } from '../find-entry.ts';
import type { CacheEntry } from '../registry/index.ts';
import { type PortableEntry, writeAttachment } from './attachment.ts';

type Context = Pick<ExecutorContext, 'registry' | 'runtime' | 'platform'>;

/**
 * Entries with their snapshots as the bytes of one file, and with them the entries whose snapshots they were made from. Of those that are
 * asked for by name, each must be there; of all, those whose snapshot is gone are left out.
 *
 * What an entry tells of its secrets goes along: digests, which depend on its key.
 *
 * @param options.keys or beginnings that only one key has
 * @throws AlcoveError while iterating: `CacheEntryNotFound`, and what exporting snapshots throws
 */
export async function* exportCache(
  context: Context,
  { keys, ...call }: CacheCallOptions & { keys?: readonly string[] },
): AsyncGenerator<Uint8Array, void, undefined> {
  const { registry, runtime, platform } = context;
  const asked = keys?.map((key) => findEntry(registry, key)) ?? registry.list();
  const wanted = withParents(context, asked);
  const leases = Array.from(wanted.values(), ({ snapshot }) => registry.lease(snapshot));
  try {
    for (const { key, snapshot } of wanted.values()) {
      if (await runtime.snapshots.has(snapshot)) continue;
      if (keys) throw goneMeanwhile(key);
      wanted.delete(key);
    }
    const { entries, parts } = portableEntries(context, wanted);
    const { architecture } = platform;
    const attachment = writeAttachment({ format: 'alcove-cache', version: 1, architecture, entries });
    const snapshots = entries.map(({ snapshot }) => snapshot);
    yield* runtime.snapshots.exportSet(snapshots, { ...call, attachment, parts });
  } finally {
    for (const lease of leases) lease[Symbol.dispose]();
  }
}

/** What an archive says of entries, the least recently used first, and the larger parts of that. */
function portableEntries(
  context: Context,
  wanted: ReadonlyMap<string, CacheEntry>,
): { entries: PortableEntry[]; parts: SetPart[] } {
  const { registry } = context;
  const parts: SetPart[] = [];
  const keep = (key: string, read: () => Uint8Array | undefined): string => {
    const part = partOf(key, read);
    parts.push(part);
    return part.sha256;
  };
  // The most recently used are listed first.
  const inOrder = registry.list().filter(({ key, snapshot }) => wanted.get(key)?.snapshot === snapshot);
  const entries = inOrder.toReversed().map((entry): PortableEntry => {
    const { key, snapshot, name, sizeBytes, createdAtMs, durationMs } = entry;
    const parent = parentOf(context, entry);
    const hasInputs = registry.inputs(key) !== undefined;
    return {
      key,
      snapshot,
      ...(parent && wanted.has(parent.key) && { parent: parent.key }),
      ...(name !== undefined && { name }),
      sizeBytes,
      createdAtMs,
      durationMs,
      output: keep(key, () => registry.output(key)),
      ...(hasInputs && { inputs: keep(key, () => jsonOf(registry.inputs(key))) }),
    };
  });
  return { entries, parts };
}

/** By key, with the entries that they descend from. */
function withParents(context: Context, asked: readonly CacheEntry[]): Map<string, CacheEntry> {
  const wanted = new Map<string, CacheEntry>();
  for (const entry of asked) {
    for (let at: CacheEntry | undefined = entry; at && !wanted.has(at.key); at = parentOf(context, at))
      wanted.set(at.key, at);
  }
  return wanted;
}

function parentOf({ registry }: Context, { parent }: CacheEntry): CacheEntry | undefined {
  return parent === undefined ? undefined : registry.bySnapshot(parent);
}

/** Read now for its digest, and again when it is its turn: outputs and trees of many entries have no room in memory together. */
function partOf(key: string, read: () => Uint8Array | undefined): SetPart {
  const bytes = read();
  if (!bytes) throw goneMeanwhile(key);
  const sha256 = sha256Of(bytes);
  return {
    sha256,
    sizeBytes: bytes.length,
    bytes: () => {
      const now = read();
      if (!now || sha256Of(now) !== sha256) throw goneMeanwhile(key);
      return now;
    },
  };
}

function jsonOf(value: unknown): Buffer | undefined {
  return value === undefined ? undefined : Buffer.from(JSON.stringify(value));
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function goneMeanwhile(key: string): AlcoveError {
  return new AlcoveError('CacheEntryNotFound', `what was cached as ${key} is gone, or has been replaced`, {
    remedy: 'Export again.',
    details: { key },
  });
}
