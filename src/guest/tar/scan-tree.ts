import { createHash, hash } from 'node:crypto';
import { cancelled } from '../../errors.ts';
import { type Found, fileBytes, lookAtTop, type TreeOptions, treeBelow } from './host-tree.ts';
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
  const top = await lookAtTop(hostPath);
  if (!top.stats.isDirectory()) {
    if (!top.stats.isSocket()) yield treeEntry(top.relative, top, await contentOf(top, options.signal));
    return;
  }
  for await (const found of treeBelow(top, options)) {
    yield treeEntry(found.relative, found, await contentOf(found, options.signal));
  }
}

async function contentOf(found: Found, signal: AbortSignal | undefined): Promise<Content | undefined> {
  if (found.kind === 'small-file') {
    return { sha256: hash('sha256', found.bytes, 'hex'), sizeBytes: found.bytes.length };
  }
  if (found.kind !== 'large-file') return undefined;
  const digest = createHash('sha256');
  for await (const chunk of fileBytes(found.path, found.stats.size)) {
    if (signal?.aborted) throw cancelled(`reading ${found.path}`, signal);
    digest.update(chunk);
  }
  return { sha256: digest.digest('hex'), sizeBytes: found.stats.size };
}
