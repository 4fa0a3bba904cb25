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

/** The kernels of one state directory. Errors: `KernelNotFound`, `InvalidInput`, `ToolMissing`, `ToolFailed`, `StateUnusable`, `Cancelled`. */
export interface KernelStore {
  resolve(request?: KernelRequest, options?: ImageCallOptions): Promise<GuestKernel>;
  /** The default kernel if it is here already; fetches nothing. */
  find(): Promise<GuestKernel | undefined>;
}
