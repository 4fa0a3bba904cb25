import { RunningStats } from 'running-stats';

/**
 * @typedef {object} ColumnFacts
 * @property {string} name
 * @property {'number' | 'date' | 'text' | 'empty'} kind what all values are that are not empty
 * @property {number} values
 * @property {number} empty
 * @property {number} distinct
 * @property {number} [min] of numbers, as the next ones
 * @property {number} [max]
 * @property {number} [mean]
 * @property {number} [deviation]
 */

/** Collects what there is to say of one column. */
export class Column {
  #name;
  #empty = 0;
  #seen = new Set();
  #dates = 0;
  #stats = new RunningStats();
  #values = 0;

  constructor(name) {
    this.#name = name;
  }

  add(field) {
    const text = field.trim();
    if (text === '') {
      this.#empty++;
      return;
    }
    this.#values++;
    this.#seen.add(text);
    if (isNumber(text)) this.#stats.add(Number(text));
    else if (isDate(text)) this.#dates++;
  }

  /** @returns {ColumnFacts} */
  facts() {
    const kind = this.#kind();
    const { min, max, mean, deviation } = this.#stats;
    return {
      name: this.#name,
      kind,
      values: this.#values,
      empty: this.#empty,
      distinct: this.#seen.size,
      ...(kind === 'number' ? { min, max, mean, deviation } : {}),
    };
  }

  #kind() {
    if (this.#values === 0) return 'empty';
    if (this.#stats.count === this.#values) return 'number';
    return this.#dates === this.#values ? 'date' : 'text';
  }
}

function isNumber(text) {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
}

/** A day of the calendar, as ISO 8601 writes it. */
function isDate(text) {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return false;
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
}
