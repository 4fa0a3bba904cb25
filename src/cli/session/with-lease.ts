import { Option } from 'commander';
import type { Alcove } from '../../engine/alcove.ts';
import type { Lease, LeaseMode } from '../../sessions/index.ts';
import type { Invocation } from '../invocation.ts';
import { parseDuration } from '../parse-duration.ts';

export interface LeaseFlags {
  wait?: number;
}

export function waitOption(): Option {
  return new Option(
    '--wait <time>',
    'how long to wait for the session’s turn, and for a place in the pool (default: for its turn as long as it takes, for a place not at all)',
  )
    .argParser((text) => parseDuration('--wait', text))
    .helpGroup('Session:');
}

/** Works with a lease of a session, which is given back on every way out. While it waits, progress says its place in the queue. */
export async function withLease<T>(
  invocation: Invocation,
  { sessions }: Pick<Alcove, 'sessions'>,
  { sessionId, mode, wait }: LeaseFlags & { sessionId: string; mode: LeaseMode },
  work: (lease: Lease) => Promise<T>,
): Promise<T> {
  const { call, progress } = invocation;
  await using lease = await sessions.acquire(sessionId, {
    ...call,
    mode,
    ...(wait !== undefined && { waitMs: wait }),
    onQueued: (place) => progress.step(`${ordinal(place)} in the queue of session ${sessionId}`),
  });
  progress.end();
  return await work(lease);
}

const ordinals = ['first', 'second', 'third', 'fourth', 'fifth', 'sixth', 'seventh', 'eighth', 'ninth'];

function ordinal(place: number): string {
  return ordinals[place - 1] ?? `number ${place}`;
}
