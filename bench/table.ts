/** The table for people. */
import type { Measured, Result } from './results.ts';

const nameWidth = 46;
const numberWidth = 9;

/** Each row a block of its own: ours, then the others with our ratio to them. */
export function formatTable(rows: readonly Measured[]): string {
  const head = ['median', 'mean', 'p90', 'max', 'runs'].map((text) => text.padStart(numberWidth)).join('');
  const lines = [`${' '.repeat(nameWidth)}${head}  ours/theirs  goal`];
  for (const { title, unit, results } of rows) {
    lines.push('', `${title}, ${unit}`);
    for (const result of results) lines.push(formatResult(result));
  }
  return lines.join('\n');
}

/** The goals alone, missed ones first. */
export function formatGoals(rows: readonly Measured[]): string {
  const judged = rows.flatMap(({ title, unit, results }) =>
    results.flatMap(({ name, ratio, goal }) => {
      if (!goal) return [];
      const what = ratio === undefined ? `${title}, ${unit}` : `${title}, to ${name}`;
      const is = ratio === undefined ? formatNumber(goal.value) : goal.value.toFixed(3);
      const verdict = goal.reached ? 'reached' : 'MISSED ';
      return [{ reached: goal.reached, line: `${verdict}  ${is} ≤ ${goal.atMost}  ${what}` }];
    }),
  );
  return judged
    .sort((a, b) => Number(a.reached) - Number(b.reached))
    .map(({ line }) => line)
    .join('\n');
}

/** The same for a page: the table of docs/speed.md. Medians, and for ours the 90th percentile. */
export function formatMarkdown(rows: readonly Measured[]): string {
  const lines = ['| row | Alcove | peer | ratio | goal |', '|---|---|---|---|---|'];
  for (const { title, unit, results } of rows) {
    const [ours, ...peers] = results;
    if (!ours) continue;
    const own = `${withUnit(ours.median, unit)} (p90 ${formatNumber(ours.p90)}, max ${formatNumber(ours.max)}, n ${ours.runs})`;
    lines.push(`| ${title} | ${own} | | | ${formatGoal(ours, unit)} |`);
    for (const peer of peers) {
      const ratio = (peer.ratio ?? Number.NaN).toFixed(3);
      lines.push(`| | | ${peer.name}: ${withUnit(peer.median, unit)} | ${ratio} | ${formatGoal(peer)} |`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function formatGoal({ goal }: Result, unit = ''): string {
  if (!goal) return '';
  return `≤ ${goal.atMost} ${unit}`.trim() + (goal.reached ? ', reached' : ', **missed**');
}

function withUnit(value: number, unit: string): string {
  return `${formatNumber(value)} ${unit}`;
}

function formatResult({ name, median, mean, p90, max, runs, ratio, goal }: Result): string {
  const cells = [...[median, mean, p90, max].map(formatNumber), `${runs}`];
  const compared = ratio === undefined ? '' : ratio.toFixed(3);
  const judged = goal ? `≤ ${goal.atMost}  ${goal.reached ? 'reached' : 'MISSED'}` : '';
  const numbers = cells.map((text) => text.padStart(numberWidth)).join('');
  return `  ${name.padEnd(nameWidth - 2)}${numbers}  ${compared.padStart(11)}  ${judged}`.trimEnd();
}

function formatNumber(value: number): string {
  return value.toFixed(value < 100 ? 2 : 0);
}
