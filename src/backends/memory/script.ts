import type { Command, ExecRequest, TerminalSize } from '../../guest/index.ts';

/** A line for the shell or an argv joined by blanks, as {@link commandLine} gives it; a pattern of it; or any test of the request. */
export type ScriptMatch = string | RegExp | ((request: ExecRequest) => boolean);

/** What a command does: a description, or a function that plays its part. */
export type Behaviour = ScriptedOutcome | ((run: ScriptedRun) => ScriptedExit | Promise<ScriptedExit>);

/** A command without a will of its own. All of it happens in this order. */
export interface ScriptedOutcome {
  /** Chunks arrive apart. */
  stdout?: string | readonly string[];
  stderr?: string | readonly string[];
  /** Absolute path to content; not synced by that. */
  writes?: Readonly<Record<string, string>>;
  /** Guest time before it ends, in ms of the injected clock. */
  delayMs?: number;
  /** Ends only by a signal. */
  hang?: 'until-killed';
  /** @default 0 */
  exitCode?: number;
  /** Ends by this signal instead. */
  signal?: string;
}

/** How it ended: an exit code (nothing is 0), or the name of a signal. */
export type ScriptedExit = number | { signal: string } | undefined;

/** A command's view of its machine. After it was killed, every method throws, so nothing of it comes later. */
export interface ScriptedRun {
  readonly vmId: string;
  readonly hostname: string;
  readonly machineId: string;
  readonly pid: number;
  readonly line: string;
  /** Empty for a shell line. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly user: string;
  readonly terminal: TerminalSize | undefined;
  readonly stdin: AsyncIterable<Uint8Array>;
  /** To stdout; waits while nobody reads. */
  print(data: string | Uint8Array): Promise<void>;
  printError(data: string | Uint8Array): Promise<void>;
  readonly files: ScriptedFiles;
  /** The machine's memory: kept by snapshots with memory, by `stop({ memory: true })`, and by nothing else. */
  readonly memory: Map<string, string>;
  /** Since boot, without pauses. */
  uptimeMs(): number;
  sleep(ms: number): Promise<void>;
  /** Takes a signal instead of ending by it. `SIGKILL` cannot be taken. */
  onSignal(signal: string, handler: () => void): void;
  /** Fires when it is killed. */
  readonly killed: AbortSignal;
  /** Starts a child that shares the pipes and belongs to the command's tree. */
  fork(command: Command): number;
  /** Lines of every process of the machine, by pid. */
  processes(): ReadonlyMap<number, string>;
  /** Random bytes of this machine; two machines never have the same. */
  random(bytes: number): Uint8Array;
}

export interface ScriptedFiles {
  exists(path: string): boolean;
  read(path: string): string;
  write(path: string, text: string): void;
  append(path: string, text: string): void;
  remove(path: string): void;
  list(path: string): string[];
  /** Makes what was written survive the machine's death. */
  sync(): void;
}

/** A command as one line. */
export function commandLine(command: Command): string {
  return typeof command === 'string' ? command : command.join(' ');
}

export function matches(match: ScriptMatch, request: ExecRequest): boolean {
  if (typeof match === 'function') return match(request);
  const line = commandLine(request.command);
  return typeof match === 'string' ? match === line : match.test(line);
}

/** Turns a description into a function. */
export function play(behaviour: Behaviour): (run: ScriptedRun) => Promise<ScriptedExit> {
  if (typeof behaviour === 'function') return async (run) => behaviour(run);
  const { stdout = [], stderr = [], writes = {}, delayMs = 0, hang, exitCode = 0, signal } = behaviour;
  return async (run) => {
    for (const chunk of [stdout].flat()) await run.print(chunk);
    for (const chunk of [stderr].flat()) await run.printError(chunk);
    for (const [path, text] of Object.entries(writes)) run.files.write(path, text);
    if (delayMs > 0) await run.sleep(delayMs);
    if (hang) await new Promise(() => undefined);
    return signal === undefined ? exitCode : { signal };
  };
}
