import type { InputChange } from '../../executor/index.ts';
import { shortKey } from '../cached/short-key.ts';
import { shortDigest } from '../human.ts';
import type { Style } from '../style.ts';
import { type Column, renderTable } from '../table.ts';
import { inputLabel } from './input-label.ts';

export interface ChangesView {
  style: Style;
  /** Width that lines must fit into. */
  width: number | undefined;
  /** More than these are counted, not shown. @default 20 */
  mostChanges?: number;
}

/** A value longer than this is cut: the rest is in `--json`. */
const mostCharacters = 60;

/** What is different, one input a line, e.g. `env.CC  gcc → clang`. */
export function renderChanges(
  changes: readonly InputChange[],
  { style, width, mostChanges = 20 }: ChangesView,
): string[] {
  const shown = changes.slice(0, mostChanges);
  const table = renderTable(shown, columns, width).split('\n').slice(1); // No titles.
  const lines = table.map((line, index) => paint(line, shown[index]?.change, style));
  const more = changes.length - shown.length;
  return more > 0 ? [...lines, `and ${more} more`] : lines;
}

const columns: Column<InputChange>[] = [
  { title: '', value: ({ input }) => inputLabel(input) },
  { title: '', value: inWords },
];

function inWords({ input, change, before, after, secret }: InputChange): string {
  if (secret) return `${change} (hidden)`;
  const [was, is] = [before, after].map((value) => value && shown(input, value));
  if (change === 'added') return is === undefined ? 'added' : `added: ${is}`;
  if (change === 'removed') return was === undefined ? 'removed' : `removed: ${was}`;
  if (was === undefined || is === undefined)
    return input.startsWith('inject.') ? 'content changed' : 'changed';
  return `${was} → ${is}`;
}

function shown(input: string, value: string): string {
  const text = input === 'parent' ? shortKey(value) : shortDigest(value);
  return [...text].length <= mostCharacters ? text : `${[...text].slice(0, mostCharacters - 1).join('')}…`;
}

function paint(line: string, change: InputChange['change'] | undefined, style: Style): string {
  if (change === 'added') return style.good(line);
  return change === 'removed' ? style.bad(line) : style.warning(line);
}
