import fc from 'fast-check';
import {
  type LeaseMode,
  type SessionFailpointName,
  type SessionOptions,
  type StopMode,
  sessionFailpoints,
} from '../../src/sessions/index.ts';
import { hour, minute } from './sessions-fixture.ts';

/** What one step of a history does; calls are made and not waited for. */
export type PoolStep =
  | { kind: 'acquire'; session: string; mode: LeaseMode; waitMs: number | undefined }
  | { kind: 'try'; session: string; mode: LeaseMode }
  | { kind: 'give up' | 'release'; index: number }
  | { kind: 'exec'; index: number; how: 'short' | 'long' | 'detached' | 'read' }
  | { kind: 'pass'; ms: number }
  | { kind: 'set clock'; byMs: number }
  | { kind: 'maintain' | 'fail backup' | 'crash' | 'reopen' }
  | { kind: 'stop'; session: string; mode: StopMode | undefined }
  | { kind: 'backup'; session: string }
  | { kind: 'restore'; session: string; index: number }
  | { kind: 'terminate'; session: string; backups: 'keep' | 'remove' }
  /** The engine stands still at the next such step, and dies later. */
  | { kind: 'stand'; at: SessionFailpointName }
  | {
      kind: 'fail call';
      point: 'create.end' | 'start.middle' | 'stop.begin' | 'snapshot.middle' | 'restore.middle';
    };

/** And how long what was begun goes on before the next, in turns of the event loop. */
export type TimedStep = PoolStep & { turns: number };

const session = fc.constantFrom('a', 'b', 'c', 'd');
const index = fc.nat(5);
const mode = fc.constantFrom<LeaseMode>('exclusive', 'exclusive', 'shared');
const turns = fc.oneof({ weight: 2, arbitrary: fc.nat(3) }, { weight: 3, arbitrary: fc.nat(40) });

const of = <K extends PoolStep['kind'], M extends object>(
  kind: K,
  more: { [P in keyof M]: fc.Arbitrary<M[P]> },
) => fc.record({ kind: fc.constant(kind), turns, ...more }) as unknown as fc.Arbitrary<TimedStep>;

export const poolStep: fc.Arbitrary<TimedStep> = fc.oneof(
  {
    weight: 14,
    arbitrary: of('acquire', { session, mode, waitMs: fc.constantFrom(undefined, 0, minute, 10 * hour) }),
  },
  { weight: 3, arbitrary: of('try', { session, mode }) },
  { weight: 2, arbitrary: of('give up', { index }) },
  { weight: 12, arbitrary: of('release', { index }) },
  {
    weight: 14,
    arbitrary: of('exec', {
      index,
      how: fc.constantFrom('short', 'short', 'short', 'long', 'detached', 'read'),
    }),
  },
  { weight: 5, arbitrary: of('pass', { ms: fc.constantFrom(1000, minute, 16 * minute, hour, 2 * hour) }) },
  {
    weight: 2,
    arbitrary: of('set clock', { byMs: fc.constantFrom(-24 * hour, -minute, minute, 24 * hour) }),
  },
  { weight: 5, arbitrary: of('maintain', {}) },
  {
    weight: 7,
    arbitrary: of('stop', {
      session,
      mode: fc.constantFrom<(StopMode | undefined)[]>(undefined, 'shutdown'),
    }),
  },
  { weight: 5, arbitrary: of('backup', { session }) },
  { weight: 2, arbitrary: of('fail backup', {}) },
  { weight: 3, arbitrary: of('restore', { session, index }) },
  { weight: 2, arbitrary: of('terminate', { session, backups: fc.constantFrom('keep', 'remove') }) },
  { weight: 2, arbitrary: of('crash', {}) },
  { weight: 1, arbitrary: of('reopen', {}) },
  { weight: 3, arbitrary: of('stand', { at: fc.constantFrom(...sessionFailpoints) }) },
  {
    weight: 1,
    arbitrary: of('fail call', {
      point: fc.constantFrom('create.end', 'start.middle', 'stop.begin', 'snapshot.middle', 'restore.middle'),
    }),
  },
);

export interface PoolSetting {
  backups: 'yes' | 'no';
  options: Partial<SessionOptions>;
}

export const bootstrapCommand: readonly [string, ...string[]] = ['/bin/sh', '-c', 'echo made >> /root/made'];

export const poolSetting: fc.Arbitrary<PoolSetting> = fc.record({
  backups: fc.constantFrom('yes', 'yes', 'yes', 'no'),
  options: fc
    .record({
      maxVms: fc.integer({ min: 1, max: 3 }),
      stopMode: fc.constantFrom<StopMode>('suspend', 'shutdown'),
      stopIdleForRoom: fc.constantFrom('yes', 'no'),
      backupKeep: fc.integer({ min: 1, max: 3 }),
      backupAfterMs: fc.constantFrom(undefined, 5 * minute),
      isBootstrapped: fc.boolean(),
    })
    .map(({ isBootstrapped, backupAfterMs, ...rest }) => ({
      ...rest,
      ...(backupAfterMs !== undefined && { backupAfterMs }),
      ...(isBootstrapped && { bootstrapCommand }),
    })) as fc.Arbitrary<Partial<SessionOptions>>,
});
