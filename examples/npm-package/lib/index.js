import { csvRows } from 'csv-rows';
import { Column } from './column.js';

/**
 * What is in the columns of a table.
 *
 * @param {Iterable<string>} pieces of a CSV text whose first row has the names of the columns
 * @returns {import('./column.js').ColumnFacts[]}
 * @throws {SyntaxError} for what is no CSV, and for a row that has more fields than the first
 */
export function tableFacts(pieces) {
  let columns;
  let rows = 0;
  for (const row of csvRows(pieces)) {
    if (!columns) {
      columns = row.map((name) => new Column(name));
      continue;
    }
    rows++;
    if (row.length > columns.length)
      throw new SyntaxError(`row ${rows} has ${row.length} fields, and there are ${columns.length} columns`);
    for (const [at, column] of columns.entries()) column.add(row[at] ?? '');
  }
  return (columns ?? []).map((column) => column.facts());
}
