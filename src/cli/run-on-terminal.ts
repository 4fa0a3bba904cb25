import type { Vm } from '../engine/alcove.ts';
import { AlcoveError } from '../errors.ts';
import type { ExecRequest, GuestProcess } from '../guest/index.ts';
import type { CommandFlags } from './command-options.ts';
import { formatElapsed } from './human.ts';
import type { Invocation } from './invocation.ts';
import { type Input, readInput } from './read-input.ts';
import { followSize, pump, terminalEnvironment, usualSize } from './terminal-streams.ts';

/**
 * Runs a command on a terminal of its own in the guest, as wide as the one here. With `-i` the keys go there, Ctrl-C too;
 * the terminal here is as before on every way out.
 *
 * @returns the command's exit code
 * @throws AlcoveError `CommandTimedOut` and what `Vm.spawn` and its process throw
 */
export async function runOnTerminal(
  vm: Pick<Vm, 'spawn'>,
  request: ExecRequest,
  invocation: Invocation,
  flags: Pick<CommandFlags, 'interactive'>,
): Promise<number> {
  const { io, signal, progress, call } = invocation;
  const { terminal } = io;
  const size = terminal.size() ?? usualSize;
  await using command = await vm.spawn(
    {
      ...request,
      env: { ...terminalEnvironment(io), ...request.env },
      pty: size,
      stdin: flags.interactive ? 'pipe' : 'none',
    },
    call,
  );
  progress.end();
  using _resizes = followSize(command, size, invocation);
  using _raw = flags.interactive && terminal.isTerminal('stdin') ? terminal.raw() : undefined;
  using input = flags.interactive ? readInput(io.stdin) : undefined;
  // Input that can no longer be taken is of no interest: the exit below says why.
  if (input) feed(input, command).catch(() => undefined);
  const [exit] = await Promise.all([
    command.exited,
    pump(command.stdout, io.stdout, signal),
    pump(command.stderr, io.stderr, signal),
  ]);
  if (exit.timedOut) {
    const timeoutMs = request.timeoutMs ?? exit.durationMs;
    throw new AlcoveError('CommandTimedOut', `the command ran longer than ${formatElapsed(timeoutMs)}`, {
      details: { timeoutMs },
    });
  }
  return exit.exitCode;
}

async function feed(input: Input, command: GuestProcess): Promise<void> {
  for await (const chunk of input) await command.stdin.write(chunk);
  await command.stdin.end();
}
