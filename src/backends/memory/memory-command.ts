import type { ExecExit, ExecRequest, GuestSink, TerminalSize } from '../../guest/index.ts';
import { BytePipe, type ByteTarget } from './byte-pipe.ts';
import { type CommandBehaviour, type CommandHost, scriptedFiles } from './command-host.ts';
import { commandLine, type ScriptedExit, type ScriptedRun } from './script.ts';
import { signalOf } from './signals.ts';

export interface CommandSetup {
  stdout: ByteTarget;
  stderr: ByteTarget;
  /** @default the next free one */
  pid?: number;
  /** @default as scripted */
  behaviour?: CommandBehaviour;
}

class Killed extends Error {}

interface Member {
  pid: number;
  controller: AbortController;
  handlers: Map<string, () => void>;
  done: Promise<ScriptedExit>;
}

/** One command with its tree of scripted processes. */
export class MemoryCommand {
  readonly pid: number;
  readonly request: ExecRequest;
  readonly exited: Promise<ExecExit>;
  /** Resolves when it has ended and no process of it is left. */
  readonly gone: Promise<void>;
  readonly #host: CommandHost;
  readonly #stdin = new BytePipe();
  readonly #stdout: ByteTarget;
  readonly #stderr: ByteTarget;
  readonly #members = new Map<number, Member>();
  readonly #exit = Promise.withResolvers<ExecExit>();
  readonly #gone = Promise.withResolvers<void>();
  readonly #startedAtMs: number;
  readonly #cancelTimers: (() => void)[] = [];
  #terminal: TerminalSize | undefined;
  #timedOut = false;
  #over = false;

  constructor(host: CommandHost, request: ExecRequest, setup: CommandSetup) {
    this.#host = host;
    this.request = request;
    this.#stdout = setup.stdout;
    this.#stderr = setup.stderr;
    this.gone = this.#gone.promise;
    this.#terminal = request.pty;
    this.exited = this.#exit.promise;
    this.exited.catch(() => undefined); // Whoever asks gets it; nobody has to.
    this.#startedAtMs = host.clock.uptimeMs();
    if (request.stdin !== 'pipe' && !request.pty) this.#stdin.end();
    if (request.timeoutMs !== undefined) {
      this.#cancelTimers.push(host.clock.timer(request.timeoutMs, () => this.#timeOut()));
    }
    const main = this.#spawn(
      request,
      setup.pid ?? host.nextPid(),
      setup.behaviour ?? host.behaviourOf(request),
    );
    this.pid = main.pid;
    void this.#follow(main);
  }

  get stdin(): GuestSink {
    return {
      write: async (chunk) => {
        await this.#stdin.write(chunk);
      },
      end: async () => this.#stdin.end(),
    };
  }

  /** Whether any process of it is alive. */
  get alive(): boolean {
    return this.#members.size > 0;
  }

  /** Whether its exit was reported; background processes may be left. */
  get isOver(): boolean {
    return this.#over;
  }

  get pids(): readonly number[] {
    return [...this.#members.keys()];
  }

  kill(signal: string | number): void {
    const { name } = signalOf(signal);
    for (const member of [...this.#members.values()]) {
      const handler = name === 'SIGKILL' ? undefined : member.handlers.get(name);
      if (handler) handler();
      else if (name === 'SIGCONT' || name === 'SIGCHLD' || name === 'SIGWINCH') continue;
      else this.#end(member, name);
    }
  }

  resize(size: TerminalSize): void {
    this.#terminal = size;
    this.kill('SIGWINCH');
  }

  /** The machine is gone: nothing of it will ever be heard. */
  vanish(error: Error): void {
    if (!this.#over) {
      this.#over = true;
      this.#exit.reject(error);
    }
    this.#cleanUp(error);
  }

  #spawn(request: ExecRequest, pid: number, behaviour: CommandBehaviour): Member {
    const member: Member = {
      pid,
      controller: new AbortController(),
      handlers: new Map(),
      done: Promise.resolve(undefined),
    };
    this.#members.set(pid, member);
    this.#host.processes.set(pid, commandLine(request.command));
    const killed = Promise.withResolvers<ScriptedExit>();
    member.controller.signal.addEventListener('abort', () => {
      killed.resolve({ signal: String(member.controller.signal.reason.message) });
    });
    const run = this.#view(member, request);
    const played = behaviour(run).catch((error: unknown): ScriptedExit => {
      if (error instanceof Killed || member.controller.signal.aborted) return undefined;
      throw error;
    });
    member.done = Promise.race([killed.promise, played]).finally(() => this.#forget(pid));
    member.done.catch(() => undefined);
    return member;
  }

  #forget(pid: number): void {
    this.#members.delete(pid);
    this.#host.processes.delete(pid);
    if (this.#over && !this.alive) this.#gone.resolve();
  }

  #end(member: Member, signal: string): void {
    // At once, not when its promise settles: afterwards no process of it lives.
    this.#forget(member.pid);
    member.controller.abort(new Killed(signal));
  }

  /** Waits for the main process and what must end with it, then reports the exit. */
  async #follow(main: Member): Promise<void> {
    try {
      const exit = await main.done;
      if (this.#over) return;
      if (this.request.background !== 'keep') this.kill('SIGKILL');
      else if (this.#members.size > 0) await this.#drain();
      this.#report(exit);
    } catch (error) {
      this.#over = true;
      this.#exit.reject(error);
      this.#cleanUp(undefined);
    }
  }

  #report(exit: ScriptedExit): void {
    if (this.#over) return;
    this.#over = true;
    const signal = typeof exit === 'object' ? signalOf(exit.signal) : undefined;
    for (const cancel of this.#cancelTimers) cancel();
    this.#stdout.end();
    this.#stderr.end();
    if (!this.alive) this.#gone.resolve();
    this.#exit.resolve({
      exitCode: signal ? 128 + signal.number : ((exit as number | undefined) ?? 0) & 0xff,
      ...(signal && { signal: signal.name }),
      timedOut: this.#timedOut,
      durationMs: this.#host.clock.uptimeMs() - this.#startedAtMs,
      droppedBytes: 0,
    });
  }

  #drain(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#cancelTimers.push(this.#host.clock.timer(this.request.drainMs ?? 100, resolve));
    return promise;
  }

  #timeOut(): void {
    if (this.#over) return;
    this.#timedOut = true;
    this.kill('SIGTERM');
    const grace = this.request.graceMs ?? 2000;
    this.#cancelTimers.push(this.#host.clock.timer(grace, () => this.kill('SIGKILL')));
  }

  #cleanUp(error: Error | undefined): void {
    for (const cancel of this.#cancelTimers) cancel();
    for (const member of [...this.#members.values()]) this.#end(member, 'SIGKILL');
    this.#gone.resolve();
    this.#stdin.break(error);
    this.#stdout.break(error);
    this.#stderr.break(error);
  }

  #view(member: Member, request: ExecRequest): ScriptedRun {
    const host = this.#host;
    const { signal } = member.controller;
    const terminal = () => this.#terminal;
    const alive = <T>(value: T): T => {
      if (signal.aborted) throw signal.reason;
      return value;
    };
    const print = async (pipe: ByteTarget, data: string | Uint8Array) => {
      const text = typeof data === 'string' && this.#terminal ? data.replaceAll('\n', '\r\n') : data;
      await alive(pipe).write(typeof text === 'string' ? Buffer.from(text) : text);
      alive(undefined);
    };
    const user = request.user ?? 'root';
    const home = user === 'root' ? '/root' : '/';
    return {
      vmId: host.vmId,
      hostname: host.hostname,
      machineId: host.machineId,
      pid: member.pid,
      line: commandLine(request.command),
      argv: typeof request.command === 'string' ? [] : request.command,
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: home,
        USER: user,
        ...(request.pty && { TERM: 'xterm' }),
        ...request.env,
      },
      cwd: request.cwd ?? home,
      user,
      get terminal() {
        return terminal();
      },
      stdin: this.#stdin.read(),
      print: (data) => print(this.#stdout, data),
      printError: (data) => print(this.#terminal ? this.#stdout : this.#stderr, data),
      files: scriptedFiles(host, alive),
      memory: host.memory,
      uptimeMs: () => host.clock.uptimeMs(),
      sleep: (ms) => host.clock.sleep(ms, signal),
      onSignal: (name, handler) => member.handlers.set(signalOf(name).name, handler),
      killed: signal,
      fork: (command) => {
        const child: ExecRequest = { ...alive(request), command };
        return this.#spawn(child, host.nextPid(), host.behaviourOf(child)).pid;
      },
      processes: () => new Map(host.processes),
      random: (bytes) => host.random(bytes),
    };
  }
}
