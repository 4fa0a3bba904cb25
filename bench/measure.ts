/** Measuring side by side: every contender takes its turn in every round, so that noise of the machine hits all alike. */
import type { World } from './world.ts';

/** What is set up together and takes turns. Its rows are read off the same runs. */
export interface Case {
  /** `--only` and `--list` go by it. */
  title: string;
  rounds: number;
  /** Rounds before those that count, which find the machine warm. @default 1 */
  warmUps?: number;
  rows: readonly Row[];
  /** What it makes, `owned` undoes, also after a failure. A peer that is not there has no contender: {@link World} notes why. */
  prepare(world: World, owned: AsyncDisposableStack): Promise<Contender[]>;
}

export interface Contender {
  name: string;
  /** One turn; resolves with what was measured, by figure. */
  run(): Promise<Readings>;
}

/** One sample or several, by figure, each in the unit of its row. */
export type Readings = Readonly<Record<string, number | readonly number[]>>;

/** One of our figures beside those of others. */
export interface Row {
  title: string;
  unit: 'ms' | 'µs' | 'MiB' | 'MB/s';
  ours: Entry;
  /** For scale, or with a goal. */
  peers?: readonly (Entry & Goal)[];
  /** In its unit: ours is at most this. */
  atMost?: number;
  /** What is held against the goals. @default median */
  judgedBy?: 'median' | 'max';
}

/** Ours is at most this times the peer's. */
export interface Goal {
  atMost?: number;
}

export interface Entry {
  contender: string;
  /** @default `total` */
  figure?: string;
  /** What the table calls it. @default the contender's name */
  name?: string;
}

/** All samples of a case, by contender and figure. */
export type Samples = ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>;

export interface MeasureOptions {
  rounds: number;
  warmUps: number;
  onTurn: (round: number, contender: string) => void;
  /** Between two turns, the rest is called off. */
  signal: AbortSignal;
}

/** Lets the contenders take turns. */
export async function measure(contenders: readonly Contender[], options: MeasureOptions): Promise<Samples> {
  const samples = new Map(contenders.map(({ name }) => [name, new Map<string, number[]>()]));
  for (let round = 1 - options.warmUps; round <= options.rounds; round++) {
    for (const contender of contenders) {
      options.signal.throwIfAborted();
      options.onTurn(round, contender.name);
      const readings = await contender.run();
      if (round < 1) continue;
      for (const [figure, read] of Object.entries(readings)) {
        const figures = samples.get(contender.name);
        figures?.set(figure, [...(figures.get(figure) ?? []), ...[read].flat()]);
      }
    }
  }
  return samples;
}

/** Times one asynchronous piece of work, in ms. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** A contender whose turn is so many runs of a piece of work, timed one by one. @param repeats @default 1 */
export function timer(name: string, work: () => Promise<unknown>, repeats = 1): Contender {
  return {
    name,
    run: async () => {
      const total: number[] = [];
      for (let repeat = 0; repeat < repeats; repeat++) total.push(await timed(work));
      return { total };
    },
  };
}
