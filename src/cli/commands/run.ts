import type { Command } from 'commander';
import type { Alcove, Vm } from '../../engine/alcove.ts';
import { copyIn, copyOut, type ExecRequest } from '../../guest/index.ts';
import { addExamples, type Cli } from '../action.ts';
import { cachePolicyOf } from '../cached/cache-options.ts';
import { cachedActionOf, checkRunFlags, isCached } from '../cached/cached-action.ts';
import { injectionsOf } from '../cached/inject-options.ts';
import { runCached } from '../cached/run-cached.ts';
import { execRequestOf } from '../command-options.ts';
import { invalidFlag } from '../invalid-flag.ts';
import type { Invocation } from '../invocation.ts';
import { runOnStreams } from '../run-on-streams.ts';
import { runOnTerminal } from '../run-on-terminal.ts';
import { addRunOptions, type RunFlags } from '../run-options.ts';
import { defaultImage, vmSpecOf } from '../vm-options.ts';

export function addRunCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('run')
    .description(
      'Run a command in a VM of its own, which is gone afterwards. Exits with the command’s code; 124 when it timed out, 130 when it was interrupted, 126 or 127 when it could not be started, 125 when Alcove failed.',
    )
    .usage('[options] -- COMMAND [ARGUMENT…]')
    .argument('[command...]', 'program and arguments (default: what the image runs)')
    .passThroughOptions();
  addRunOptions(command, cli.io);
  command.action(cli.action(run));
  addExamples(command, [
    ['alcove run -- uname -a', 'In the built-in image; needs no network.'],
    [
      'alcove run --image debian:12 --memory 1G -- cat /etc/os-release',
      'In an image that was pulled or imported.',
    ],
    ['echo hello | alcove run -i -- wc -c', 'With standard input.'],
    ['alcove run -it -- /bin/sh', 'On a terminal.'],
    ['alcove run --timeout 10s -- sleep 60', 'Exits with 124 after ten seconds.'],
    [
      'alcove run --copy-in ./src:/job --copy-out /job/out:./out -w /job -- ./build.sh',
      'Copies a folder in, and what was made out.',
    ],
    ['alcove run --from web/before -- cat /etc/hostname', 'In a copy of a machine as it was then.'],
    ['alcove run --inject . -- ./build.sh', 'On what is in this folder, which is /work there.'],
    [
      'alcove run --auto-key --inject . -- ./build.sh',
      'The same, and never twice: until something changes, what it printed is shown again.',
    ],
    ['alcove run --auto-key --ttl 1d --network user --secret TOKEN -- ./fetch.sh', 'At most once a day.'],
  ]);
}

async function run(invocation: Invocation, words: string[], flags: RunFlags): Promise<number> {
  if (words[0]?.startsWith('-')) throw invalidFlag('command', `"${words[0]}" is not a command`);
  const policy = cachePolicyOf(flags);
  checkRunFlags(flags, policy); // What is wrong is said before anything is opened.
  if (flags.from !== undefined && words.length === 0)
    throw invalidFlag('command', 'no command given, and a snapshot names none', 'Write one after --.');
  return invocation.withEngine(async (alcove) => {
    const command = words.length > 0 ? words : await commandOfImage(alcove, flags, invocation);
    if (isCached(policy)) return await runCached(alcove, cachedActionOf(command, flags), policy, invocation);
    const request = plainRequestOf(command, flags);
    return flags.tty
      ? await runTty(alcove, request, flags, invocation)
      : await runPlain(alcove, request, flags, invocation);
  });
}

/** As in any machine; what is injected says where it runs, and secrets are variables as others are. */
function plainRequestOf(command: readonly string[], flags: RunFlags): ExecRequest {
  const { workdir } = injectionsOf(flags);
  const env = { ...flags.env, ...flags.secret };
  return execRequestOf(command, {
    ...flags,
    ...(workdir !== undefined && { workdir }),
    ...(Object.keys(env).length > 0 && { env }),
  });
}

/** What a run without a key starts from. */
function sourceOf(flags: RunFlags): Parameters<Alcove['run']>[0] {
  const { from, label } = flags;
  return from === undefined ? vmSpecOf(flags) : { from, ...(label !== undefined && { labels: label }) };
}

async function runPlain(
  alcove: Alcove,
  request: ExecRequest,
  flags: RunFlags,
  invocation: Invocation,
): Promise<number> {
  const { exitCode } = await runOnStreams(invocation, flags, (streams) =>
    alcove.run(
      sourceOf(flags),
      { ...request, ...streams },
      {
        ...invocation.call,
        around: {
          before: async (vm) => {
            await copyAllIn(vm, flags, invocation);
            invocation.progress.end(); // From here on the terminal is the command's.
          },
          after: (vm) => copyAllOut(vm, flags, invocation),
        },
      },
    ),
  );
  return exitCode;
}

/**
 * `Alcove.run` has no hold on a terminal's size. So the command runs on its terminal ahead of the run's own, which then is
 * not started. What counts is that the machine belongs to a run: it is gone on every way out, after `kill -9` too.
 */
async function runTty(
  alcove: Alcove,
  request: ExecRequest,
  flags: RunFlags,
  invocation: Invocation,
): Promise<number> {
  const before = async (vm: Vm) => {
    await copyAllIn(vm, flags, invocation);
    const exitCode = await runOnTerminal(vm, request, invocation, flags);
    await copyAllOut(vm, flags, invocation);
    throw new SessionOver(exitCode);
  };
  try {
    return (await alcove.run(sourceOf(flags), request, { ...invocation.call, around: { before } })).exitCode;
  } catch (error) {
    if (error instanceof SessionOver) return error.exitCode;
    throw error;
  }
}

/** Leaves a run with the exit code of what ran on the terminal. */
class SessionOver extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super('the command on the terminal has ended');
    this.exitCode = exitCode;
  }
}

async function copyAllIn(vm: Vm, flags: RunFlags, invocation: Invocation): Promise<void> {
  const injections = injectionsOf(flags).inject;
  if (injections.length > 0) {
    // Loaded only where it is needed: help and mistakes answer at once.
    const { inject } = await import('../../executor/inject/index.ts');
    for (const injection of injections) await inject(vm.files, injection, invocation.call);
  }
  for (const { hostPath, guestPath } of flags.copyIn ?? []) {
    invocation.progress.step(`copying ${hostPath} in`);
    await copyIn(vm, hostPath, guestPath, { signal: invocation.signal });
  }
}

async function copyAllOut(vm: Vm, flags: RunFlags, invocation: Invocation): Promise<void> {
  for (const { hostPath, guestPath } of flags.copyOut ?? []) {
    invocation.progress.step(`copying ${guestPath} out`);
    await copyOut(vm, guestPath, hostPath, { signal: invocation.signal });
  }
}

/** What the image runs when nothing else is said. @throws AlcoveError `InvalidInput` when it says nothing */
async function commandOfImage(
  alcove: Alcove,
  { image: reference = defaultImage }: RunFlags,
  invocation: Invocation,
): Promise<string[]> {
  const { signal, progress } = invocation;
  const { config } = await alcove.images.resolve(reference, {
    signal,
    onProgress: ({ step }) => progress.step(step),
  });
  const words = [...(config.entrypoint ?? []), ...(config.command ?? [])];
  if (words.length > 0) return words;
  throw invalidFlag(
    'command',
    `no command given, and the image ${reference} names none`,
    'Write one after --, e.g. alcove run -- uname -a',
  );
}
