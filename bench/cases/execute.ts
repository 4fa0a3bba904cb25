import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../../scripts/build.ts';
import type { Action } from '../../src/index.ts';
import { type Case, timed, timer } from '../measure.ts';
import { quantile } from '../results.ts';
import { image, memoryMiB, noOp } from '../world.ts';

const run = promisify(execFile);

const action: Action = { source: { image }, command: noOp, limits: { memoryMiB } };
/** So many in a row each turn: of fewer, the hundredth slowest would be the slowest. */
const hitsInARow = 1000;
const hitsAtOnce = 2000;

/** A result that is there already, through the library. */
export const hit: Case = {
  title: 'cache hit',
  rounds: 5,
  rows: [
    {
      title: 'cache hit through the library, with a key of the caller’s',
      unit: 'ms',
      ours: { contender: 'given key' },
      atMost: 1,
    },
    { title: 'the same, p99', unit: 'ms', ours: { contender: 'given key', figure: 'p99' }, atMost: 1 },
    {
      title: 'the same, 2,000 at once: each',
      unit: 'ms',
      ours: { contender: 'given key', figure: 'each at once' },
      atMost: 0.2,
    },
    {
      title: 'cache hit through the library, with a key made of all inputs',
      unit: 'ms',
      ours: { contender: 'made key' },
      atMost: 1,
    },
    {
      title: 'the same with a made key, p99',
      unit: 'ms',
      ours: { contender: 'made key', figure: 'p99' },
      atMost: 1,
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    return (
      [
        ['given key', { cache: 'bench' }],
        ['made key', { auto: 'forever' }],
      ] as const
    ).map(([name, policy]) => ({
      name,
      run: async () => {
        await alcove.execute(action, policy); // The first one is a miss.
        const total: number[] = [];
        for (let i = 0; i < hitsInARow; i++) total.push(await timed(() => alcove.execute(action, policy)));
        const atOnce = await timed(() =>
          Promise.all(Array.from({ length: hitsAtOnce }, () => alcove.execute(action, policy))),
        );
        return { total, p99: quantile(total, 0.99), 'each at once': atOnce / hitsAtOnce };
      },
    }));
  },
};

/** The same as a user of the command line has it: a process that begins, opens the state directory, and ends. */
export const hitByCommandLine: Case = {
  title: 'cache hit by command line',
  rounds: 8,
  rows: [
    {
      title: 'cache hit through the command line',
      unit: 'ms',
      ours: { contender: 'alcove run --cache' },
      peers: [{ contender: 'docker run --rm' }, { contender: 'node, which does nothing' }],
    },
  ],
  async prepare(world) {
    const docker = await world.docker();
    const program = join(root, 'bin', 'alcove.js');
    const words = [
      '--state-dir',
      world.stateDir,
      'run',
      '--image',
      image,
      '--cache',
      'bench-cli',
      '--',
      ...noOp,
    ];
    const nothing = join(world.workDir, 'nothing.js');
    writeFileSync(nothing, '');
    return [
      timer('alcove run --cache', () => run(process.execPath, [program, ...words])),
      timer('node, which does nothing', () => run(process.execPath, [nothing])),
      ...(docker ? [timer('docker run --rm', () => docker.run(noOp))] : []),
    ];
  },
};

/** A result that is not there, with next to nothing to do for it: what the rest costs. */
export const miss: Case = {
  title: 'cache miss',
  rounds: 6,
  rows: [
    {
      title: 'cache miss with a command that does nothing and ten files to inject',
      unit: 'ms',
      ours: { contender: 'alcove' },
      peers: [
        { contender: 'docker create, cp, start, commit, rm' },
        { contender: 'alcove', figure: 'machine', name: 'of ours: the machine, until commands can run' },
        { contender: 'alcove', figure: 'inject', name: 'of ours: inject' },
        { contender: 'alcove', figure: 'run', name: 'of ours: the command' },
        { contender: 'alcove', figure: 'snapshot', name: 'of ours: the snapshot' },
      ],
    },
  ],
  async prepare(world, owned) {
    const alcove = owned.use(await world.engine());
    const docker = await world.docker();
    const folder = join(world.workDir, 'ten-files');
    mkdirSync(folder, { recursive: true });
    for (let i = 0; i < 10; i++) writeFileSync(join(folder, `file-${i}`), `content ${i}\n`);
    let turn = 0;
    return [
      {
        name: 'alcove',
        run: async () => {
          const result = await alcove.execute(
            { ...action, inject: { from: folder, to: '/job' } },
            { cache: `miss ${turn++}` },
          );
          const { machine = 0, inject = 0, run: command = 0, snapshot = 0 } = result.phases ?? {};
          return { total: result.durationMs, machine, inject, run: command, snapshot };
        },
      },
      ...(docker
        ? [
            timer('docker create, cp, start, commit, rm', async () => {
              const container = await docker.do('create', '--network=none', docker.image, ...noOp);
              await docker.do('cp', `${folder}/.`, `${container}:/job`);
              await docker.do('start', '--attach', container);
              await docker.commit(container, `miss-${turn++}`);
              await docker.removeContainers(container);
            }),
          ]
        : []),
    ];
  },
};
