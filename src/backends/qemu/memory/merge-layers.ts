import type { FileDigest } from '../../../store/index.ts';
import { LayerStack } from './layer-stack.ts';
import type { MemoryLayer } from './memory-layer.ts';
import { writeMemoryLayer } from './write-memory-layer.ts';

/**
 * The most layers that a stack should have. Here an image of it takes 3–15 % longer to make than one of the same pages in one
 * layer, with twice as many 12–36 %, with four times as many 30–140 %: see docs/decisions/0007-memory-layers.md.
 */
export const maxMemoryLayers = 32;

/**
 * Which layers of a stack should become one now: its upper half, and further down each one that is no larger than all above it
 * together. So a large layer, such as the template's, which all machines of its shape share, is written again only when
 * as much has come on top of it, and merging writes about as much again as the snapshots themselves did (2.2 times as much for
 * snapshots of 0.2 MB over a lowest layer of 55 MB, when no page is ever changed twice).
 *
 * @param sizes bytes of the layers, lowest first
 * @returns the index from which to the top they should be merged; `undefined` when the stack is not too high
 */
export function mergeFrom(sizes: readonly number[]): number | undefined {
  if (sizes.length <= maxMemoryLayers) return undefined;
  let from = sizes.length - maxMemoryLayers / 2;
  let above = sizes.slice(from).reduce((sum, size) => sum + size, 0);
  for (let next = sizes[from - 1]; next !== undefined && next <= above; next = sizes[from - 1]) {
    above += next;
    from--;
  }
  return from;
}

/**
 * Writes one layer that is equal to a stack of them, wherever the stack stands: on nothing, or on other layers, whose pages it
 * covers as the stack did (zero pages are kept for that).
 *
 * @param layers lowest first, at least one
 * @throws AlcoveError `SnapshotCorrupt`, `StateUnusable`, `Cancelled`
 */
export async function mergeLayers(
  layers: readonly [MemoryLayer, ...MemoryLayer[]],
  path: string,
  options: { signal?: AbortSignal } = {},
): Promise<FileDigest> {
  const [{ ramBytes }] = layers;
  const pages = new LayerStack(layers, ramBytes).pages();
  return writeMemoryLayer(path, { ramBytes, pages, ...options });
}
