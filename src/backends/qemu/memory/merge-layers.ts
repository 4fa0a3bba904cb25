import { LayerStack } from './layer-stack.ts';
import type { MemoryLayer } from './memory-layer.ts';
import { type WrittenLayer, writeMemoryLayer } from './write-memory-layer.ts';

/** From how many layers on a stack should be merged: see docs/decisions/0007-memory-layers.md for the measurement. */
export const maxMemoryLayers = 32;

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
): Promise<WrittenLayer> {
  const [{ ramBytes }] = layers;
  const pages = new LayerStack(layers, ramBytes).pages();
  return writeMemoryLayer(path, { ramBytes, pages, ...options });
}
