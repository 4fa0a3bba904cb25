/** A column of a table for people. */
export interface Column<Row> {
  title: string;
  value: (row: Row) => string;
  /** @default 'left' */
  align?: 'left' | 'right';
}

const gap = '  ';
const narrowest = 6;

/**
 * Rows under their titles, one line each. Where `width` is given and the table is wider, the widest columns are cut with
 * `…` until it fits (never below 6 characters).
 */
export function renderTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  width?: number,
): string {
  const lines = [
    columns.map((c) => c.title),
    ...rows.map((row) => columns.map((c) => oneLine(c.value(row)))),
  ];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => length(line[i] ?? ''))));
  if (width !== undefined) shrink(widths, width - gap.length * (columns.length - 1));
  const render = (cells: readonly string[]) =>
    cells
      .map((cell, i) => pad(cut(cell, widths[i] ?? 0), widths[i] ?? 0, columns[i]?.align ?? 'left'))
      .join(gap)
      .trimEnd();
  return lines.map(render).join('\n');
}

/** `name  value` lines with the values in one column; entries without a value are left out. */
export function renderFacts(facts: readonly (readonly [string, string | undefined])[]): string {
  const shown = facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
  const width = Math.max(0, ...shown.map(([name]) => length(name)));
  return shown
    .map(([name, value]) => `${pad(name, width, 'left')}${gap}${oneLine(value)}`.trimEnd())
    .join('\n');
}

/** Takes from the widest column until all fit or none can give. */
function shrink(widths: number[], room: number): void {
  let excess = widths.reduce((sum, w) => sum + w, 0) - room;
  while (excess > 0) {
    const widest = Math.max(...widths);
    if (widest <= narrowest) return;
    widths[widths.indexOf(widest)] = widest - 1;
    excess--;
  }
}

/** What others chose (labels, reasons, paths) must not move the cursor or break the line. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
}

function cut(text: string, width: number): string {
  return length(text) <= width ? text : `${[...text].slice(0, width - 1).join('')}…`;
}

function pad(text: string, width: number, align: 'left' | 'right'): string {
  const fill = ' '.repeat(Math.max(0, width - length(text)));
  return align === 'left' ? text + fill : fill + text;
}

function length(text: string): number {
  return [...text].length;
}
