import type { Clock } from '../../host/index.ts';
import type { BackendCallOptions, MachineShape } from '../../vm/backend.ts';
import type { AcceleratorChoice } from './accelerator.ts';
import type { Failpoint } from './failpoints.ts';
import type { GuestConnector } from './guest-line.ts';
import type { MadeFiles } from './made-files.ts';
import type { MemoryImages } from './memory/index.ts';
import type { QemuHost } from './probe-host.ts';
import type { Templates } from './templates.ts';
import type { UidPool } from './uid-pool.ts';
import type { NamingStateDir } from './vm-places.ts';

/** Whether QEMU's memory can be looked into. */
export type MemoryAccess = 'as the host has it' | 'refused';

/** What the machines of one backend share. */
export interface QemuContext {
  readonly stateDir: NamingStateDir;
  readonly clock: Clock;
  readonly connector: GuestConnector;
  /** From the start of QEMU to a guest that takes commands, in ms. */
  readonly bootTimeoutMs: number;
  readonly uids: UidPool;
  readonly images: MemoryImages;
  readonly templates: Templates;
  readonly files: MadeFiles;
  readonly memoryAccess: MemoryAccess;
  /** For crash tests; does nothing otherwise. */
  readonly at: Failpoint;
  /** Finds out, or remembers, what this host has. @throws AlcoveError `BackendUnavailable` */
  host(options?: BackendCallOptions): Promise<QemuHost>;
  accelerator(shape: MachineShape, options?: BackendCallOptions): Promise<AcceleratorChoice>;
}
