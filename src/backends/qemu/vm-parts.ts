import type { CreateRequest } from '../../vm/backend.ts';
import type { QemuContext } from './context.ts';
import type { ImageAhead } from './image-ahead.ts';
import type { VmFiles } from './vm-files.ts';
import type { VmMachine } from './vm-machine.ts';

/** One VM, as the calls on it need it. */
export interface VmParts {
  readonly context: QemuContext;
  readonly request: CreateRequest;
  readonly files: VmFiles;
  readonly machine: VmMachine;
  readonly ahead: ImageAhead;
}
