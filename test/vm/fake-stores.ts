import { AlcoveError } from '../../src/errors.ts';
import type { GuestKernel, Image, ImageStore, KernelStore } from '../../src/images/index.ts';

/** An image store with images that are only names. */
export function fakeImages(...references: string[]): ImageStore & { drop(reference: string): void } {
  const images = new Map(references.map((reference, index) => [reference, fakeImage(reference, index)]));
  const find = (reference: string) =>
    [...images.values()].find((image) => image.digest === reference || image.references.includes(reference));
  return {
    add: () => Promise.reject(new Error('not here')),
    resolve: async (reference) => {
      const image = find(reference);
      if (image) return image;
      throw new AlcoveError('ImageNotFound', `there is no image ${reference}`);
    },
    find: async (reference) => find(reference),
    list: async () => [...images.values()],
    place: () => Promise.reject(new Error('not here')),
    remove: async () => undefined,
    mend: async () => [],
    drop: (reference) => void images.delete(reference),
  };
}

function fakeImage(reference: string, index: number): Image {
  return {
    digest: `sha256:${String(index).padStart(64, '0')}`,
    references: [reference],
    config: { env: { FROM_IMAGE: reference, LANG: 'C' }, user: 'root', workdir: '/root' },
    sizeBytes: 0,
    createdAtMs: 0,
    source: reference,
    rootfsPath: `/images/${index}`,
  };
}

const kernel: GuestKernel = {
  kernelPath: '/kernels/vmlinuz',
  kernelDigest: 'sha256:k',
  initramfsPath: '/kernels/initramfs',
  initramfsDigest: 'sha256:i',
  release: '0',
};

export const fakeKernels: KernelStore = {
  resolve: async () => kernel,
  find: async () => kernel,
  locate: async () => undefined,
  adopt: () => Promise.reject(new Error('not here')),
  list: async () => [],
  remove: () => Promise.reject(new Error('not here')),
};
