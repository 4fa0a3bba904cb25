import type {
  DetachedCommand,
  ExecRequest,
  ExecResult,
  GuestChannel,
  GuestFiles,
  GuestProcess,
  GuestUsage,
} from '../guest/index.ts';
import type { CallOptions } from './call-options.ts';
import type { ForkResult, RunOptions, SnapshotInfo, VmInfo } from './vm.ts';

/** One VM. `await using` destroys it at the end of the block. */
export interface Vm extends AsyncDisposable {
  readonly id: string;
  info(): Promise<VmInfo>;
  start(options?: CallOptions): Promise<void>;
  stop(options?: CallOptions & { memory?: true; graceMs?: number }): Promise<void>;
  pause(options?: CallOptions): Promise<void>;
  resume(options?: CallOptions): Promise<void>;
  /**
   * @param options.id @default generated
   * @param options.memory whether memory is kept, where there is any @default 'include'
   */
  snapshot(
    options?: CallOptions & {
      id?: string;
      memory?: 'include' | 'exclude';
      labels?: Record<string, string>;
    },
  ): Promise<SnapshotInfo>;
  /** So many VMs from one snapshot of this one, taken now; each succeeds or fails alone. */
  fork(
    count: number,
    options?: CallOptions & { ids?: string[]; start?: 'yes' | 'no' },
  ): Promise<ForkResult[]>;
  destroy(options?: CallOptions): Promise<void>;
  /** Runs a command to its end. */
  exec(command: RunOptions): Promise<ExecResult>;
  /** Starts a command and gives its streams. The image's and the VM's env, user and workdir apply. */
  spawn(request: ExecRequest, options?: CallOptions): Promise<GuestProcess>;
  attach(commandId: string, options?: CallOptions): Promise<GuestProcess>;
  detached(options?: CallOptions): Promise<DetachedCommand[]>;
  readonly files: GuestFiles;
  dial(port: number, options?: CallOptions): ReturnType<GuestChannel['dial']>;
  /** One round trip to the guest agent. */
  ping(options?: CallOptions): Promise<void>;
  usage(options?: CallOptions): Promise<GuestUsage>;
  /** The last part of its console, bounded. */
  console(): Promise<string>;
  /** Resolves with the reason when the machine ends without having been asked to. */
  exited(options?: { signal?: AbortSignal }): Promise<string>;
}
