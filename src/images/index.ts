/** OCI image, tarball or directory in, read-only root filesystem out; and the kernel and initramfs a guest boots. */
export * from './guest-kernel.ts';
export * from './image.ts';
export { type ImageStoreOptions, openImageStore } from './image-store.ts';
export { builtAgentPath, type KernelStoreOptions, openKernelStore } from './kernel/kernel-store.ts';
export { ByteSource } from './tar/byte-source.ts';
export { readPax } from './tar/pax.ts';
export { roomIn } from './tar/room-in.ts';
export { blockSize } from './tar/tar-entry.ts';
export { readTarNumber } from './tar/tar-number.ts';
export { endOfTar, paddingAfter, writeTarHeader } from './tar/tar-writer.ts';
export { readZstd } from './tar/zstd-frames.ts';
