import type { MachineShape } from '../../vm/backend.ts';
import type { MemoryImageRequest, MemoryImages } from './memory/index.ts';
import type { KeptMemory } from './memory-files.ts';
import { MiB } from './sizes.ts';

/** Disk that memory images may take which no machine is mapped from: some twenty of small machines. */
export const unusedImageBytes = 2048 * MiB;

/** The image that a machine which goes on from kept memory is mapped from. */
export function imageOf(
  { layers }: Pick<KeptMemory, 'layers'>,
  { memoryMiB }: Pick<MachineShape, 'memoryMiB'>,
): MemoryImageRequest {
  return {
    layers: layers.map(({ path, digest }) => ({ path, sha256: digest.sha256 })),
    ramBytes: memoryMiB * MiB,
  };
}

/**
 * Makes the memory image of a VM that was stopped with its memory, while nobody waits for it: it was 60–150 ms of a start of 310. A start
 * that comes before it is done waits for the rest of it.
 */
export class ImageAhead {
  readonly #images: MemoryImages;
  #abort = new AbortController();
  #making: Promise<void> = Promise.resolve();

  constructor(images: MemoryImages) {
    this.#images = images;
  }

  /** In place of one that is still being made. */
  begin(request: MemoryImageRequest): void {
    const before = this.end();
    const abort = new AbortController();
    this.#abort = abort;
    // Whatever is wrong, the start that needs it tries again, and tells.
    this.#making = before.then(() => this.#make(request, abort.signal)).catch(() => undefined);
  }

  /** Returns when nothing of it is under way any more: before the layers go, and when the VM is let go of. */
  async end(): Promise<void> {
    this.#abort.abort(new Error('its VM is gone'));
    await this.#making;
  }

  async #make(request: MemoryImageRequest, signal: AbortSignal): Promise<void> {
    const image = await this.#images.get(request, { signal });
    image[Symbol.dispose]();
    await this.#images.trim({ maxUnusedBytes: unusedImageBytes });
  }
}
