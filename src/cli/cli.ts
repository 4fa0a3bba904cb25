import { Command, CommanderError } from 'commander';
import { AlcoveError } from '../errors.ts';
import { packageVersion } from '../host/index.ts';
import { type Cli, createCli } from './action.ts';
import { addBackupCommands } from './commands/backup/index.ts';
import { addCacheCommands } from './commands/cache/index.ts';
import { addCpCommand } from './commands/cp.ts';
import { addDoctorCommand, type Diagnose } from './commands/doctor.ts';
import { addExecCommand } from './commands/exec.ts';
import { addGcCommand } from './commands/gc.ts';
import { addImageCommands } from './commands/image/index.ts';
import { addPipelineCommands } from './commands/pipeline/index.ts';
import { addRunCommand } from './commands/run.ts';
import { addSessionCommands } from './commands/session/index.ts';
import { addShellCommand } from './commands/shell.ts';
import { addSnapshotCommands } from './commands/snapshot/index.ts';
import { addVersionCommand } from './commands/version.ts';
import { addVmCommands } from './commands/vm/index.ts';
import { addWarmCommands } from './commands/warm/index.ts';
import { exitCode } from './exit-code.ts';
import { addGlobalOptions, guessGlobalOptions } from './global-options.ts';
import { Interrupted, type Interrupts, watchInterrupts } from './interrupts.ts';
import { type OpenAlcove, styleFor } from './invocation.ts';
import type { CliIo } from './io.ts';
import { exitCodeOf, printError, toAlcoveError } from './print-error.ts';

/**
 * The CLI without its process: parses, runs, prints, and resolves with the exit code. Never rejects.
 *
 * @param argv without the programs' names
 */
export async function main(
  argv: readonly string[],
  io: CliIo,
  openAlcove: OpenAlcove,
  diagnose: Diagnose,
): Promise<number> {
  using interrupts = watchInterrupts(io);
  const cli = createCli({ io, signal: interrupts.signal, openAlcove });
  let code: number;
  try {
    await createProgram(cli, diagnose).parseAsync([...argv], { from: 'user' });
    code = cli.exitCode;
  } catch (error) {
    code = end(error, { argv, io, cli, interrupts });
  }
  await Promise.all([io.stdout, io.stderr].map(flush));
  return afterOutput(code, { argv, io, cli, interrupts });
}

function createProgram(cli: Cli, diagnose: Diagnose): Command {
  const { io } = cli;
  const program = new Command('alcove')
    .description(
      'A microVM for every command, session or agent: run, keep, snapshot, fork and bring back machines.',
    )
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this help')
    .enablePositionalOptions()
    .exitOverride()
    .configureHelp({ helpWidth: Math.min(io.terminal.size()?.columns ?? 80, 110) })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: () => undefined, // Written by printError, as every error.
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  addRunCommand(program, cli);
  addExecCommand(program, cli);
  addShellCommand(program, cli);
  addCpCommand(program, cli);
  addSessionCommands(program, cli);
  addBackupCommands(program, cli);
  addVmCommands(program, cli);
  addSnapshotCommands(program, cli);
  addImageCommands(program, cli);
  addPipelineCommands(program, cli);
  addCacheCommands(program, cli);
  addWarmCommands(program, cli);
  addGcCommand(program, cli);
  addDoctorCommand(program, cli, diagnose);
  addVersionCommand(program, cli);
  addGlobalOptions(program);
  return program;
}

interface Ending {
  argv: readonly string[];
  io: CliIo;
  cli: Cli;
  interrupts: Interrupts;
}

/** Says why a command ended early; returns what to exit with. */
function end(error: unknown, ending: Ending): number {
  if (error instanceof CommanderError && isHelp(error))
    return error.exitCode === 0 ? exitCode.ok : exitCode.usage;
  const { reason } = ending.interrupts;
  const failure = toAlcoveError(error);
  if (!(reason instanceof Interrupted)) {
    if (!reason || failure.code !== 'Cancelled') print(failure, ending);
    return reason ? reason.exitCode : exitCodeOf(failure);
  }
  // A command that was asked to end says so; that something went wrong while it did is news.
  if (failure.code !== 'Cancelled') print(failure, ending);
  else if (reason.signal !== 'SIGPIPE') {
    print(new AlcoveError('Cancelled', reason.message, { remedy: '', cause: error }), ending);
  }
  return reason.exitCode;
}

/** Output that could not be written fails the command, also when all else went well. */
function afterOutput(code: number, ending: Ending): number {
  const { reason } = ending.interrupts;
  if (reason instanceof AlcoveError) {
    print(reason, ending);
    return reason.exitCode;
  }
  return reason?.signal === 'SIGPIPE' ? reason.exitCode : code;
}

function print(error: AlcoveError, { argv, io, cli }: Ending): void {
  const globals = cli.globals ?? guessGlobalOptions(argv);
  printError(error, { io, globals, style: styleFor('stderr', io, globals) });
}

function isHelp({ code }: CommanderError): boolean {
  return code === 'commander.help' || code === 'commander.helpDisplayed' || code === 'commander.version';
}

/** Resolves when all that was written has left, or never can. */
function flush(stream: CliIo['stdout']): Promise<void> {
  if (stream.destroyed || stream.writableEnded || stream.errored) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once('close', resolve);
    stream.write('', () => {
      stream.off('close', resolve);
      resolve();
    });
  });
}
