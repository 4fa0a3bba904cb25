/** Measuring side by side: every contender takes its turn in every round, so that noise of the machine hits all alike. */

export interface Contender {
  /** Who: `alcove`, or the peer's name. */
  name: string;
  /** One run; resolves with its time in ms. */
  run(): Promise<number>;
}

export interface Row {
  title: string;
  /** Contenders, ours first; ratios are ours over theirs. */
  contenders: readonly Contender[];
  rounds: number;
  /** Runs in a row in each turn, each of them a sample. @default 1 */
  repeats?: number;
  /** Goals, by peer: ours is at most this times the peer's. */
  goals?: Readonly<Record<string, number>>;
}

export interface Measured {
  title: string;
  /** Of each contender. */
  runs: number;
  results: Result[];
}

export interface Result {
  name: string;
  medianMs: number;
  p90Ms: number;
  minMs: number;
  /** Ours over this contender's, by median; absent for ours. */
  ratio?: number;
  /** The ratio to stay under, where one is set. */
  goal?: number;
}

/** Runs a row, one warm-up round first. */
export async function measure(row: Row, onRound: (round: number) => void): Promise<Measured> {
  const times = new Map(row.contenders.map((c) => [c.name, [] as number[]]));
  for (let round = 0; round <= row.rounds; round++) {
    onRound(round);
    for (const contender of row.contenders) {
      for (let repeat = 0; repeat < (row.repeats ?? 1); repeat++) {
        const ms = await contender.run();
        if (round > 0) times.get(contender.name)?.push(ms);
      }
    }
  }
  const ours = quantile(times.get(row.contenders[0]?.name ?? '') ?? [], 0.5);
  const results = row.contenders.map(({ name }, index): Result => {
    const sorted = times.get(name) ?? [];
    const medianMs = quantile(sorted, 0.5);
    const goal = row.goals?.[name];
    return {
      name,
      medianMs,
      p90Ms: quantile(sorted, 0.9),
      minMs: quantile(sorted, 0),
      ...(index > 0 && { ratio: ours / medianMs }),
      ...(goal !== undefined && { goal }),
    };
  });
  return { title: row.title, runs: row.rounds * (row.repeats ?? 1), results };
}

/** Times one asynchronous piece of work, in ms. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** The value below which a share `q` of the numbers lies (nearest rank). */
export function quantile(numbers: readonly number[], q: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN;
}

/** A table for people. */
export function formatTable(rows: readonly Measured[]): string {
  const lines = [
    '',
    `${'row'.padEnd(44)} ${'who'.padEnd(22)} ${'median'.padStart(10)} ${'p90'.padStart(10)}  ours/theirs`,
  ];
  for (const { title, results } of rows) {
    for (const [index, r] of results.entries()) {
      const goal =
        r.goal === undefined || r.ratio === undefined
          ? ''
          : `  goal ≤ ${r.goal}: ${r.ratio <= r.goal ? 'reached' : 'NOT reached'}`;
      const ratio = r.ratio === undefined ? '' : `${r.ratio.toFixed(3)}${goal}`;
      lines.push(
        `${(index === 0 ? title : '').padEnd(44)} ${r.name.padEnd(22)} ${ms(r.medianMs)} ${ms(r.p90Ms)}  ${ratio}`,
      );
    }
  }
  return lines.join('\n');
}

function ms(value: number): string {
  return `${value.toFixed(value < 100 ? 2 : 0)} ms`.padStart(10);
}
