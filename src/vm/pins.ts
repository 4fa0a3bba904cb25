import { Holds } from '../host/index.ts';

/**
 * What calls under way need and no row says yet: snapshots being restored, exported or built on, by uid, and images and kernels of VMs
 * and snapshots being made, by digest. Of this process: when it ends, nothing of it needs anything.
 */
export class Pins extends Holds {}
