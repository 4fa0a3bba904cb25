import { describe, expect, it } from 'vitest';
import { measure } from '../../bench/measure.ts';
import { evaluate, quantile } from '../../bench/results.ts';
import { formatGoals, formatMarkdown, formatTable } from '../../bench/table.ts';

const never = new AbortController().signal;

/** A contender that takes 1, 2, 3, … times so long. */
function slower(name: string, ms: number) {
  let turn = 0;
  return {
    name,
    run: async () => {
      turn++;
      return { total: turn * ms, memory: [1, 2] };
    },
  };
}

const rows = [
  {
    title: 'start',
    unit: 'ms',
    ours: { contender: 'alcove' },
    peers: [
      { contender: 'docker', atMost: 0.5 },
      { contender: 'absent', atMost: 0.1 },
    ],
    atMost: 2,
  },
  {
    title: 'memory',
    unit: 'MiB',
    ours: { contender: 'alcove', figure: 'memory' },
    judgedBy: 'max',
    atMost: 2,
  },
  { title: 'of nobody', unit: 'ms', ours: { contender: 'absent' } },
] as const;

describe('measuring', () => {
  it('lets contenders take turns, and leaves warm-up rounds out', async () => {
    const turns: string[] = [];
    const samples = await measure([slower('alcove', 1), slower('docker', 10)], {
      rounds: 2,
      warmUps: 1,
      onTurn: (round, name) => turns.push(`${round} ${name}`),
      signal: never,
    });
    expect(turns).toEqual(['0 alcove', '0 docker', '1 alcove', '1 docker', '2 alcove', '2 docker']);
    expect(samples.get('alcove')?.get('total')).toEqual([2, 3]);
    expect(samples.get('docker')?.get('total')).toEqual([20, 30]);
    expect(samples.get('docker')?.get('memory')).toEqual([1, 2, 1, 2]);
  });

  it('stops between two turns', async () => {
    const stopping = new AbortController();
    const measuring = measure([slower('alcove', 1), slower('docker', 1)], {
      rounds: 1,
      warmUps: 0,
      onTurn: () => stopping.abort(new Error('stopped')),
      signal: stopping.signal,
    });
    await expect(measuring).rejects.toThrow('stopped');
  });
});

describe('results', () => {
  const samples = new Map([
    [
      'alcove',
      new Map([
        ['total', [1, 3, 2]],
        ['memory', [1, 2, 3]],
      ]),
    ],
    ['docker', new Map([['total', [10, 20, 30]]])],
  ]);
  const measured = evaluate({ rows }, samples);

  it('hold ours against goals, and against the peers that were there', () => {
    expect(measured.map(({ title }) => title)).toEqual(['start', 'memory']);
    const [ours, docker, ...others] = measured[0]?.results ?? [];
    expect(ours).toMatchObject({
      name: 'alcove',
      median: 2,
      mean: 2,
      runs: 3,
      goal: { atMost: 2, reached: true },
    });
    expect(docker).toMatchObject({ name: 'docker', ratio: 0.1, goal: { atMost: 0.5, reached: true } });
    expect(others).toEqual([]);
  });

  it('can be held against the largest', () => {
    expect(measured[1]?.results[0]?.goal).toEqual({ atMost: 2, value: 3, reached: false });
  });

  it('are a table, and a list of goals with the missed ones first', () => {
    expect(formatTable(measured)).toMatch(
      /start, ms\n {2}alcove +2\.00 +2\.00 +3\.00 +3\.00 +3 +≤ 2 {2}reached\n {2}docker/,
    );
    expect(formatGoals(measured).split('\n')).toEqual([
      'MISSED   3.00 ≤ 2  memory, MiB',
      'reached  2.00 ≤ 2  start, ms',
      'reached  0.100 ≤ 0.5  start, to docker',
    ]);
  });

  it('are a table for a page', () => {
    expect(formatMarkdown(measured).split('\n')).toEqual([
      '| row | Alcove | peer | ratio | goal |',
      '|---|---|---|---|---|',
      '| start | 2.00 ms (p90 3.00, max 3.00, n 3) | | | ≤ 2 ms, reached |',
      '| | | docker: 20.00 ms | 0.100 | ≤ 0.5, reached |',
      '| memory | 2.00 MiB (p90 3.00, max 3.00, n 3) | | | ≤ 2 MiB, **missed** |',
      '',
    ]);
  });
});

it.each([
  [0, 1],
  [0.5, 2],
  [0.9, 4],
  [1, 4],
])('the quantile %d of four numbers is by nearest rank', (q, expected) => {
  expect(quantile([4, 1, 3, 2], q)).toBe(expected);
});
