import type { SessionFailpointName, SessionPool } from '../../src/sessions/index.ts';
import type { VmInfo } from '../../src/vm/index.ts';
import type { BackupPlace } from './fake-backup-store.ts';
import type { PoolStep } from './pool-steps.ts';

/** The pool under test, on whatever backend. */
export interface PoolSubject {
  readonly sessions: SessionPool;
  readonly place: BackupPlace;
  /** Machines of sessions that there are. */
  machines(): Promise<VmInfo[]>;
  machine(vmId: string): Promise<VmInfo | undefined>;
  standAt(step: SessionFailpointName): unknown;
  /** Takes that back where it has not come to it. */
  standNowhere(): void;
  /** Whether it does: then it does not go on. */
  readonly stands: boolean;
  crash(): Promise<unknown>;
  reopen(): Promise<unknown>;
  /** Lets time pass. */
  pass(ms: number): Promise<void>;
  setClock(byMs: number): void;
  nowMs(): number;
  /** Lets what is under way go on for a while. */
  settle(turns: number): Promise<void>;
  failCall(point: Extract<PoolStep, { kind: 'fail call' }>['point']): void;
  clearFaults(): void;
  /** How long its long commands take, in ms. */
  readonly longMs: number;
}
