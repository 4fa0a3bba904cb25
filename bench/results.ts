/** From samples to what is reported: statistics, ratios, goals. */
import type { Case, Entry, Row, Samples } from './measure.ts';

export interface Measured {
  title: string;
  unit: Row['unit'];
  /** Ours first. */
  results: Result[];
}

export interface Statistics {
  /** How many samples. */
  runs: number;
  median: number;
  mean: number;
  p90: number;
  min: number;
  max: number;
}

export interface Result extends Statistics {
  name: string;
  /** Ours over this one; absent for ours. */
  ratio?: number;
  goal?: Judgement;
}

/** Of the figure, where it is ours; of our ratio to it, where it is a peer's. */
export interface Judgement {
  atMost: number;
  value: number;
  reached: boolean;
}

/** The rows of a case. A peer that was not measured is left out of them. */
export function evaluate({ rows }: Pick<Case, 'rows'>, samples: Samples): Measured[] {
  return rows.flatMap((row): Measured[] => {
    const ours = statistics(samples, row.ours);
    if (!ours) return [];
    const by = row.judgedBy ?? 'median';
    const peers = (row.peers ?? []).flatMap((entry): Result[] => {
      const theirs = statistics(samples, entry);
      if (!theirs) return [];
      const ratio = ours[by] / theirs[by];
      return [{ name: nameOf(entry), ...theirs, ratio, ...judge(ratio, entry.atMost) }];
    });
    const first: Result = { name: nameOf(row.ours), ...ours, ...judge(ours[by], row.atMost) };
    return [{ title: row.title, unit: row.unit, results: [first, ...peers] }];
  });
}

function judge(value: number, atMost: number | undefined): Pick<Result, 'goal'> {
  return atMost === undefined ? {} : { goal: { atMost, value, reached: value <= atMost } };
}

function nameOf({ name, contender }: Entry): string {
  return name ?? contender;
}

function statistics(samples: Samples, { contender, figure = 'total' }: Entry): Statistics | undefined {
  const numbers = samples.get(contender)?.get(figure);
  if (!numbers || numbers.length === 0) return undefined;
  return {
    runs: numbers.length,
    median: quantile(numbers, 0.5),
    mean: numbers.reduce((sum, number) => sum + number, 0) / numbers.length,
    p90: quantile(numbers, 0.9),
    min: quantile(numbers, 0),
    max: quantile(numbers, 1),
  };
}

/** The value below which a share `q` of the numbers lies (nearest rank). */
export function quantile(numbers: readonly number[], q: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN;
}
