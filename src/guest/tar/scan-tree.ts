import { createHash, hash } from 'node:crypto';
import { cancelled } from '../../errors.ts';
import { BufferPool } from '../buffer-pool.ts';
import {
  type Found,
  fileBytes,
  lookAhead,
  lookAtTop,
  smallBytes,
  type TreeOptions,
  treeBelow,
} from './host-tree.ts';
import { type Content, type TreeEntry, treeEntry } from './tree-entry.ts';

/**
 * What {@link packPath} would tell of everything it packs, in the same order, without packing it.
 *
 * @throws AlcoveError `HostFile` while iterating, when something cannot be read; `Cancelled`
 */
export async function* scanTree(
  hostPath: string,
  options: TreeOptions = {},
): AsyncGenerator<TreeEntry, void, undefined> {
  const pool = new BufferPool(smallBytes, lookAhead);
  const top = await lookAtTop(hostPath);
  if (!top.stats.isDirectory()) {
    if (!top.stats.isSocket()) yield treeEntry(top.relative, top, await contentOf(top, pool, options.signal));
    return;
  }
  for await (const found of treeBelow(top, options, pool)) {
    yield treeEntry(found.relative, found, await contentOf(found, pool, options.signal));
  }
}

async function contentOf(
  found: Found,
  pool: BufferPool,
  signal: AbortSignal | undefined,
): Promise<Content | undefined> {
  if (found.kind === 'small-file') {
    const { bytes } = found;
    const content = { sha256: hash('sha256', bytes, 'hex'), sizeBytes: bytes.length };
    pool.give(bytes);
    return content;
  }
  if (found.kind !== 'large-file') return undefined;
  const digest = createHash('sha256');
  for await (const chunk of fileBytes(found.path, found.stats.size, pool)) {
    if (signal?.aborted) throw cancelled(`reading ${found.path}`, signal);
    digest.update(chunk);
    pool.give(chunk);
  }
  return { sha256: digest.digest('hex'), sizeBytes: found.stats.size };
}
