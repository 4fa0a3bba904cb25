/**
 * The backend that runs VMs as QEMU processes: KVM where it is proven to work, software emulation elsewhere.
 * `docs/decisions/0003-boot-time.md` and `0004-qemu-confinement.md` say why things are as they are.
 */
export type { AcceleratorWish } from './accelerator.ts';
export { createQemuBackend, type QemuBackendOptions } from './qemu-backend.ts';
