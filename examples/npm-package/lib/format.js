/**
 * Facts as a text table, a column a line.
 *
 * @param {readonly import('./column.js').ColumnFacts[]} columns
 */
export function formatFacts(columns) {
  const head = ['column', 'kind', 'values', 'empty', 'distinct', 'min', 'max', 'mean', 'deviation'];
  const lines = columns.map((facts) => [
    facts.name,
    facts.kind,
    ...[facts.values, facts.empty, facts.distinct, facts.min, facts.max, facts.mean, facts.deviation].map(
      number,
    ),
  ]);
  const widths = head.map((_, at) => Math.max(...[head, ...lines].map((line) => line[at].length)));
  return [head, ...lines]
    .map((line) => line.map((text, at) => (at < 2 ? text.padEnd(widths[at]) : text.padStart(widths[at]))))
    .map((line) => `${line.join('  ').trimEnd()}\n`)
    .join('');
}

function number(value) {
  return value === undefined ? '' : `${Number(value.toPrecision(6))}`;
}
