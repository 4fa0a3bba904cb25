/** Lines of output that a failed step shows. */
const maxLines = 20;
/** Of one of them, in UTF-16 units: so all are below 60 KB, however long the lines that a command prints. */
const maxLength = 1_000;

/** The last lines of a step's output. */
export class LastLines {
  readonly #lines: string[] = [];

  push(line: string): void {
    this.#lines.push(cut(line));
    if (this.#lines.length > maxLines) this.#lines.shift();
  }

  get lines(): readonly string[] {
    return [...this.#lines];
  }
}

function cut(line: string): string {
  if (line.length <= maxLength) return line;
  const kept = line.slice(0, maxLength).replace(/[\uD800-\uDBFF]$/, ''); // Half a character is none.
  return `${kept}… ${line.length - kept.length} characters left out …`;
}
