import type { CacheEntry, Explanation, MissReason, NearestEntry } from '../../executor/index.ts';
import { shortKey } from '../cached/short-key.ts';
import { formatAge, formatElapsed } from '../human.ts';
import { goneInWords } from './gone-in-words.ts';
import { type ChangesView, renderChanges } from './render-changes.ts';

export interface ExplanationView extends ChangesView {
  now: number;
}

/** Hit or miss, why, and what changed since the most similar run. */
export function renderExplanation(explanation: Explanation, view: ExplanationView): string {
  const { verdict, reason, changes } = explainInWords(explanation, view);
  const paint =
    verdict === 'hit' ? view.style.good : verdict === 'miss' ? view.style.warning : view.style.dim;
  const key = 'key' in explanation ? [`key ${explanation.key}`] : [];
  return [`${paint(verdict)}: ${reason}`, ...changes.map((line) => `  ${line}`), ...key].join('\n');
}

/** The parts of it, for a table. */
export function explainInWords(
  explanation: Explanation,
  view: ExplanationView,
): { verdict: Explanation['verdict']; reason: string; changes: string[] } {
  const { now, width } = view;
  const { verdict } = explanation;
  if (verdict === 'not cached') return { verdict, reason: 'its policy is none', changes: [] };
  if (verdict === 'hit') return { verdict, reason: entryInWords(explanation.entry, now), changes: [] };
  const { why, nearest } = explanation;
  // What is indented by whoever shows it must fit, too.
  const inner = { ...view, width: width === undefined ? undefined : width - 4 };
  // Of a key that was run before, what is different from other keys is no reason.
  const changes = nearest && why.reason === 'new' ? renderChanges(nearest.changes, inner) : [];
  return { verdict, reason: missInWords(why, nearest, now), changes };
}

function entryInWords({ createdAtMs, durationMs, hits }: CacheEntry, now: number): string {
  const used = hits === 0 ? '' : `, used ${hits === 1 ? 'once' : `${hits} times`} since`;
  return `made ${formatAge(createdAtMs, now)} in ${formatElapsed(durationMs)}${used}`;
}

function missInWords(why: MissReason, nearest: NearestEntry | undefined, now: number): string {
  if (why.reason === 'gone') return goneInWords(why.history, now);
  if (why.reason === 'expired') {
    const age = formatAge(why.entry.createdAtMs, now);
    return `its result was made ${age}, and one over ${lengthInWords(why.maxAgeMs)} does not count`;
  }
  if (why.reason === 'snapshot gone') return 'it has an entry, whose snapshot is not there any more';
  if (!nearest) return 'nothing like it was run before';
  const { length } = nearest.changes;
  const count = length === 1 ? '1 input differs' : `${length} inputs differ`;
  const name =
    nearest.name === undefined ? shortKey(nearest.key) : `${nearest.name} (${shortKey(nearest.key)})`;
  return `${count} from ${name}, made ${formatAge(nearest.createdAtMs, now)}`;
}

function lengthInWords(ms: number): string {
  return ms < 3_600_000 ? formatElapsed(ms) : formatAge(0, ms).replace(' ago', '');
}
