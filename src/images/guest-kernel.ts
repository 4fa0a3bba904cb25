import type { ImageCallOptions } from './image.ts';

/** Files a machine boots from; each digest is `sha256:<hex>` of the file's bytes. */
export interface GuestKernel {
  kernelPath: string;
  kernelDigest: string;
  /** Holds the guest agent as `/init` and the modules it loads. */
  initramfsPath: string;
  initramfsDigest: string;
  /** As `uname -r` says in the guest. */
  release: string;
}

/** What to boot. Nothing given: the distribution's cloud kernel, fetched once per state directory, without root. */
export interface KernelRequest {
  /** A bzImage. */
  kernelPath?: string;
  /** The `lib/modules/<release>` folder that fits it. @default none: everything needed is built in */
  modulesDir?: string;
  /** A whole initramfs instead of the one built here; it must bring the agent. */
  initramfsPath?: string;
}

/** A file, or a folder with a kernel and its modules, that a state directory keeps. */
export interface KeptKernelFile {
  kind: 'kernel' | 'initramfs';
  digest: string;
  path: string;
  /** When it was fetched or made; of an initramfs when a VM was last made with it. */
  lastUsedMs: number;
}

/** The kernels of one state directory. Errors: `KernelNotFound`, `InvalidInput`, `ToolMissing`, `ToolFailed`, `StateUnusable`, `Cancelled`. */
export interface KernelStore {
  resolve(request?: KernelRequest, options?: ImageCallOptions): Promise<GuestKernel>;
  /** The default kernel if it is here already; fetches nothing. */
  find(): Promise<GuestKernel | undefined>;
  /** Path of a kernel or initramfs that is kept here and has this digest; its bytes are compared. */
  locate(kind: KeptKernelFile['kind'], digest: string): Promise<string | undefined>;
  /** Moves a file of this digest, made elsewhere and synced, to where {@link locate} finds it. Returns its path. */
  adopt(kind: KeptKernelFile['kind'], digest: string, path: string): Promise<string>;
  /** All that is kept, needed or not. */
  list(): Promise<KeptKernelFile[]>;
  /** Removes one that nothing needs, whole or not at all. What can be made or fetched again will be. */
  remove(file: KeptKernelFile): Promise<void>;
}
