import type { Invocation } from './invocation.ts';
import { type Column, renderTable } from './table.ts';

/** How a list is shown. */
export interface ListView<Row> {
  /** What `-q` prints of each. */
  name: (row: Row) => string;
  columns: readonly Column<Row>[];
  /** What to do when there is nothing; goes to standard error, so that a script reads an empty list. */
  empty: string;
}

/** Shows a list as JSON, as names (`-q`) or as a table. @param json what is shown as JSON; default the rows */
export async function showList<Row>(
  invocation: Invocation,
  rows: readonly Row[],
  { name, columns, empty }: ListView<Row>,
  json: unknown = rows,
): Promise<void> {
  const { globals, io, progress, width } = invocation;
  const quiet = globals.verbosity === 'quiet';
  if (rows.length === 0 && !quiet && globals.format === 'people') {
    progress.end();
    io.stderr.write(`${empty}\n`);
    return;
  }
  await invocation.show(json, () => (quiet ? rows.map(name).join('\n') : renderTable(rows, columns, width)));
}
