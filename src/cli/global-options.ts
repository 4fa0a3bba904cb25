import { type Command, Option } from 'commander';
import { AlcoveError } from '../errors.ts';
import { invalidFlag } from './invalid-flag.ts';
import { parseDuration } from './parse-duration.ts';

/** What every command takes, before or after its name. */
export interface GlobalOptions {
  stateDir?: string;
  backend?: 'qemu' | 'memory';
  lockWaitMs: number;
  /** How results and errors are written. */
  format: 'people' | 'json';
  verbosity: 'normal' | 'quiet';
  /** `auto`: where the stream is a terminal and `NO_COLOR` is not set. */
  colour: 'auto' | 'off';
}

interface Flags {
  stateDir?: string;
  backend?: 'qemu' | 'memory';
  lockWait?: number;
  json?: true;
  quiet?: true;
  color?: boolean;
}

/** Long enough for the commands that take a moment, short enough not to look hung. */
const defaultLockWaitMs = 10_000;

/** Adds the global options to a command and everything below it. */
export function addGlobalOptions(command: Command): void {
  const options = [
    new Option(
      '--state-dir <dir>',
      'where everything durable lies (default: $XDG_STATE_HOME/alcove)',
    ).argParser((text) => {
      if (text === '') throw invalidFlag('--state-dir', 'the path is empty');
      return text;
    }),
    new Option('--backend <name>', 'qemu, or memory: a fake for tests (default: qemu)').argParser(
      parseBackend,
    ),
    new Option('--lock-wait <time>', 'how long to wait for another alcove to end (default: 10s)').argParser(
      (text) => parseDuration('--lock-wait', text),
    ),
    new Option('--json', 'results on stdout and errors on stderr as JSON'),
    new Option('-q, --quiet', 'no progress; lists show names only'),
    new Option('--no-color', 'no colours, as with NO_COLOR'),
  ];
  for (const option of options) command.addOption(option.helpGroup('Global options:'));
  for (const below of command.commands) addGlobalOptions(below);
}

/** The global options of a parsed command; what stands nearest to it wins. */
export function readGlobalOptions(command: Command): GlobalOptions {
  const { stateDir, backend, lockWait, json, quiet, color } = flagsOf(command);
  return {
    ...(stateDir !== undefined && { stateDir }),
    ...(backend !== undefined && { backend }),
    lockWaitMs: lockWait ?? defaultLockWaitMs,
    format: json ? 'json' : 'people',
    verbosity: quiet ? 'quiet' : 'normal',
    colour: color === false ? 'off' : 'auto',
  };
}

/** As much of the global options as an error needs when the command line could not be parsed. */
export function guessGlobalOptions(argv: readonly string[]): GlobalOptions {
  const end = argv.indexOf('--');
  const words = end < 0 ? argv : argv.slice(0, end);
  return {
    lockWaitMs: defaultLockWaitMs,
    format: words.includes('--json') ? 'json' : 'people',
    verbosity: 'normal',
    colour: words.includes('--no-color') ? 'off' : 'auto',
  };
}

function flagsOf(command: Command): Flags {
  const above = command.parent ? flagsOf(command.parent) : {};
  const own = command.opts<Flags>();
  // A negatable option is always set, so `--no-color` above must not be undone by the default below.
  return { ...above, ...own, color: above.color !== false && own.color !== false };
}

function parseBackend(text: string): 'qemu' | 'memory' {
  if (text === 'qemu' || text === 'memory') return text;
  throw new AlcoveError('InvalidInput', `--backend: "${text}" is not a backend`, {
    details: { field: '--backend' },
    remedy: 'Choose qemu or memory.',
  });
}
