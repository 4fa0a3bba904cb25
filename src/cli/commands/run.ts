import type { Command } from 'commander';
import { Option } from 'commander';
import type { Alcove, Vm } from '../../engine/alcove.ts';
import { copyIn, copyOut, type ExecRequest } from '../../guest/index.ts';
import { addExamples, type Cli } from '../action.ts';
import { addCommandOptions, type CommandFlags, execRequestOf } from '../command-options.ts';
import { invalidFlag } from '../invalid-flag.ts';
import type { Invocation } from '../invocation.ts';
import { type CopyPair, parseCopyIn, parseCopyOut } from '../parse-copy.ts';
import { runOnStreams } from '../run-on-streams.ts';
import { runOnTerminal } from '../run-on-terminal.ts';
import { addVmOptions, type VmFlags, vmSpecOf } from '../vm-options.ts';

interface RunFlags extends VmFlags, CommandFlags {
  copyIn?: CopyPair[];
  copyOut?: CopyPair[];
}

export function addRunCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('run')
    .description(
      'Run a command in a VM of its own, which is gone afterwards. Exits with the command’s code; 124 when it timed out, 130 when it was interrupted, 126 or 127 when it could not be started, 125 when Alcove failed.',
    )
    .usage('[options] -- COMMAND [ARGUMENT…]')
    .argument('[command...]', 'program and arguments (default: what the image runs)')
    .passThroughOptions();
  addVmOptions(command);
  addCommandOptions(command, cli.io);
  const copies = [
    new Option(
      '--copy-in <src:dst>',
      'copy a file or folder of this host into the VM first; may be repeated',
    ).argParser((text, before: CopyPair[] = []) => [...before, parseCopyIn('--copy-in', text)]),
    new Option(
      '--copy-out <src:dst>',
      'copy a file or folder out of the VM afterwards; may be repeated',
    ).argParser((text, before: CopyPair[] = []) => [...before, parseCopyOut('--copy-out', text)]),
  ];
  for (const copy of copies) command.addOption(copy.helpGroup('Command:'));
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
  ]);
}

async function run(invocation: Invocation, words: string[], flags: RunFlags): Promise<number> {
  if (words[0]?.startsWith('-')) throw invalidFlag('command', `"${words[0]}" is not a command`);
  return invocation.withEngine(async (alcove) => {
    const command = words.length > 0 ? words : await commandOfImage(alcove, flags.image, invocation);
    const request = execRequestOf(command, flags);
    return flags.tty
      ? await runTty(alcove, request, flags, invocation)
      : await runPlain(alcove, request, flags, invocation);
  });
}

async function runPlain(
  alcove: Alcove,
  request: ExecRequest,
  flags: RunFlags,
  invocation: Invocation,
): Promise<number> {
  const { exitCode } = await runOnStreams(invocation, flags, (streams) =>
    alcove.run(
      vmSpecOf(flags),
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
    return (await alcove.run(vmSpecOf(flags), request, { ...invocation.call, around: { before } })).exitCode;
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
async function commandOfImage(alcove: Alcove, reference: string, invocation: Invocation): Promise<string[]> {
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
