import { execFile } from 'node:child_process';
import { appendFileSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import cProject from '../../examples/c-project/pipeline.ts';
import { exampleImage, exampleImageTar } from '../../examples/image-tar.ts';
import npmPackage from '../../examples/npm-package/pipeline.ts';
import { root } from '../../scripts/build.ts';
import type { Alcove, Pipeline, PipelineResult, RunPipelineOptions } from '../../src/index.ts';
import { type Case, type Contender, type Readings, type Row, timed, timer } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import { commandTime, dockerfileOf } from '../peers/dockerfile.ts';
import { image, memoryMiB, type World } from '../world.ts';

const run = promisify(execFile);

const chainLength = 20;
/** Runs with nothing to do, each turn. */
const cachedRuns = 10;

/** Twenty steps, each from the one before, that all ran already. */
export const cachedPipeline: Case = {
  title: 'cached pipeline of 20 steps',
  rounds: 5,
  rows: [
    {
      title: 'fully cached pipeline of 20 steps, through the library',
      unit: 'ms',
      ours: { contender: 'library' },
      peers: [{ contender: 'docker build', atMost: 0.2 }],
    },
    {
      title: 'fully cached pipeline of 20 steps, through the command line',
      unit: 'ms',
      ours: { contender: 'alcove pipeline run' },
      peers: [{ contender: 'docker build' }],
    },
  ],
  async prepare(world) {
    const folder = join(world.workDir, 'chain');
    const pipeline = writeChain(folder);
    const file = join(folder, 'pipeline.js');
    writeFileSync(file, `export default ${JSON.stringify(pipeline)};\n`);
    const words = [join(root, 'bin/alcove.js'), '--state-dir', world.stateDir, 'pipeline', 'run', file];
    const docker = await world.docker();
    return [
      {
        name: 'library',
        run: async () => {
          await using alcove = await world.engine(); // For this turn: the command line needs it, too.
          await passed(alcove, pipeline);
          return { total: await cachedTimes(alcove, pipeline) };
        },
      },
      timer('alcove pipeline run', () => run(process.execPath, words)),
      ...(docker ? [await builtChain(docker, pipeline, folder)] : []),
    ];
  },
};

async function builtChain(docker: Docker, pipeline: Pipeline, folder: string): Promise<Contender> {
  const dockerfile = `${folder}.dockerfile`;
  writeFileSync(dockerfile, dockerfileOf(pipeline, docker.image));
  await docker.build(folder, dockerfile, 'chain');
  return timer('docker build', () => docker.build(folder, dockerfile, 'chain'));
}

/** Each step has a file of its own and a command that does nothing. */
function writeChain(folder: string): Pipeline {
  const steps: Record<string, Pipeline['steps'][string]> = {};
  for (let at = 1; at <= chainLength; at++) {
    mkdirSync(join(folder, `step-${at}`), { recursive: true });
    writeFileSync(join(folder, `step-${at}`, 'file'), `of step ${at}\n`);
    steps[`step-${at}`] = {
      ...(at === 1 ? { from: { image }, limits: { memoryMiB } } : { from: { step: `step-${at - 1}` } }),
      inject: { from: `step-${at}`, to: `/job/step-${at}` },
      command: '/bin/no-op',
    };
  }
  return { name: 'chain', base: folder, steps };
}

interface Project {
  pipeline: Pipeline;
  folder: string;
  /** One that a single step depends on, and how a comment begins in it. */
  changes: { file: string; comment: string };
}

const projects: readonly Omit<Project, 'folder'>[] = [
  { pipeline: cProject, changes: { file: 'test/unit/check.c', comment: '//' } },
  { pipeline: npmPackage, changes: { file: 'test/table-facts.test.js', comment: '//' } },
];

/** The example projects: all steps run, none does, one does. */
export const examplePipelines: Case = {
  title: 'example pipelines',
  rounds: 2,
  warmUps: 0, // A turn is a minute and more where machines are emulated.
  rows: projects.flatMap(({ pipeline }) => rowsOf(pipeline.name ?? '')),
  async prepare(world, owned) {
    const tar = await exampleImageTar((step) => console.error(`bench: ${step}`));
    const alcove = owned.use(await world.engine());
    await alcove.images.add({ kind: 'tar', path: tar }, { name: exampleImage });
    // Its shape's template is made before anything is timed, as the other cases' is.
    await alcove.run({ image: exampleImage, memoryMiB: 512 }, { command: ['true'], nonZeroExit: 'error' });
    const docker = await world.docker();
    const base = await docker?.import(tar, 'examples');
    return projects.flatMap((one) => {
      const ofOurs = copyOf(one, 'ours', world);
      const ofDocker = copyOf(one, 'docker', world);
      return [ours(alcove, ofOurs), ...(docker && base ? [built(docker, base, ofDocker)] : [])];
    });
  },
};

/** What lies beside the commands is what is compared: emulation makes them slower, whoever starts them. */
function rowsOf(project: string): Row[] {
  const row = (title: string, figure: string, peers: Row['peers'] = []): Row => ({
    title: `${project} pipeline, ${title}`,
    unit: 'ms',
    ours: { contender: `alcove, ${project}`, figure, name: 'alcove' },
    peers: [...peers],
  });
  const docker = (figure: string, name: string) => ({ contender: `docker, ${project}`, figure, name });
  const ofOurs = (figure: string, name: string) => ({ contender: `alcove, ${project}`, figure, name });
  return [
    row('cold, one step at a time as docker does', 'cold', [
      docker('cold', 'docker build --no-cache'),
      ofOurs('cold commands', 'of ours: commands in the guest'),
      docker('cold commands', 'of docker’s: commands'),
    ]),
    row('cold, all but the commands', 'cold rest', [
      { ...docker('cold rest', 'docker build --no-cache'), atMost: 1 },
      ofOurs('cold machine', 'of ours: machines, until commands can run'),
      ofOurs('cold inject', 'of ours: inject'),
      ofOurs('cold snapshot', 'of ours: snapshots'),
    ]),
    row('fully cached', 'cached', [docker('cached', 'docker build')]),
    row('one changed file', 'changed', [docker('changed', 'docker build')]),
    row('one changed file, all but the command', 'changed rest', [docker('changed rest', 'docker build')]),
  ];
}

function copyOf(project: Omit<Project, 'folder'>, whose: string, world: World): Project {
  const name = project.pipeline.name ?? '';
  const folder = join(world.workDir, 'examples', whose, name);
  cpSync(join(root, 'examples', name), folder, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => basename(path) !== 'node_modules',
  });
  return { ...project, pipeline: { ...project.pipeline, base: folder }, folder };
}

let lastChange = 0;

function change({ folder, changes: { file, comment } }: Project): void {
  lastChange++;
  appendFileSync(join(folder, file), `${comment} ${lastChange}\n`);
}

function ours(alcove: Alcove, project: Project): Contender {
  const { pipeline } = project;
  return {
    name: `alcove, ${pipeline.name}`,
    run: async () => {
      const cold = costs('cold', await passed(alcove, pipeline, { mode: 'refresh', concurrency: 1 }));
      const cached = await cachedTimes(alcove, pipeline);
      change(project);
      return { ...cold, cached, ...costs('changed', await passed(alcove, pipeline)) };
    },
  };
}

/** What lies beside the commands is the rest, as of docker. */
function costs(what: string, { durationMs, steps }: PipelineResult): Readings {
  const ran = steps.filter(({ status }) => status === 'passed');
  const sum = (of: (step: (typeof ran)[number]) => number | undefined) =>
    ran.reduce((all, step) => all + (of(step) ?? 0), 0);
  const commands = sum(({ phases }) => phases?.command);
  return {
    [what]: durationMs,
    [`${what} commands`]: commands,
    [`${what} rest`]: durationMs - commands,
    [`${what} machine`]: sum(({ phases }) => phases?.machine),
    [`${what} inject`]: sum(({ phases }) => phases?.inject),
    [`${what} snapshot`]: sum(({ phases }) => phases?.snapshot),
  };
}

function built(docker: Docker, base: string, project: Project): Contender {
  const { pipeline, folder } = project;
  const name = pipeline.name ?? '';
  const dockerfile = `${folder}.dockerfile`;
  writeFileSync(dockerfile, dockerfileOf(pipeline, base, 'commands'));
  const build = async (what: string, cache: 'use' | 'ignore'): Promise<Readings> => {
    let output = '';
    const total = await timed(async () => {
      output = await docker.build(folder, dockerfile, name, cache);
    });
    const commands = commandTime(output);
    return { [what]: total, [`${what} commands`]: commands, [`${what} rest`]: total - commands };
  };
  return {
    name: `docker, ${name}`,
    run: async () => {
      const cold = await build('cold', 'ignore');
      const cached: number[] = [];
      for (let i = 0; i < cachedRuns; i++)
        cached.push(await timed(() => docker.build(folder, dockerfile, name)));
      change(project);
      return { ...cold, cached, ...(await build('changed', 'use')) };
    },
  };
}

async function cachedTimes(alcove: Alcove, pipeline: Pipeline): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < cachedRuns; i++) {
    let result: PipelineResult | undefined;
    times.push(
      await timed(async () => {
        result = await alcove.pipelines.run(pipeline);
      }),
    );
    if (!result?.steps.every(({ status }) => status === 'cached')) throw new Error('a step was not cached');
  }
  return times;
}

async function passed(
  alcove: Alcove,
  pipeline: Pipeline,
  options?: RunPipelineOptions,
): Promise<PipelineResult> {
  const result = await alcove.pipelines.run(pipeline, options);
  const failed = result.steps.find(({ error }) => error);
  if (result.status !== 'passed')
    throw new Error(
      `${pipeline.name} did not pass: ${failed?.step}: ${failed?.error?.message}\n${failed?.lastOutput?.join('\n')}`,
    );
  return result;
}
