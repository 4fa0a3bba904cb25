import type { KeyHistory } from '../../executor/index.ts';
import { formatAge } from '../human.ts';

const reasons: Readonly<Record<KeyHistory['reason'], string>> = {
  evicted: 'its entry was evicted to make room',
  removed: 'its entry was removed',
  'snapshot gone': 'its snapshot was gone',
  failed: 'its last run failed',
};

/** What became of a key, and when. */
export function goneInWords({ reason, atMs, detail }: KeyHistory, nowMs: number): string {
  return `${reasons[reason]} ${formatAge(atMs, nowMs)}${detail === undefined ? '' : `: ${detail}`}`;
}
