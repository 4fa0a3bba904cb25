import { AlcoveError } from '../errors.ts';
import type { ExecRequest, ExecResult, GuestProcess } from '../guest/index.ts';
import { type CallOptions, type Vm, VmHandle, type VmRuntime } from '../vm/index.ts';
import type { Lease, LeaseMode, SessionExecOptions, SessionSpawnOptions } from './lease.ts';
import { type SessionOptions, workdir } from './session-options.ts';

export interface LeaseParts {
  runtime: VmRuntime;
  sessionId: string;
  vmId: string;
  mode: LeaseMode;
  options: Pick<SessionOptions, 'shell' | 'shellArgs' | 'env' | 'nixProfile'>;
  /** Gives back what the lease is about; called once, when none of its commands is left. */
  giveBack: () => void;
}

/** {@link Lease} over a machine of this process's runtime. */
export class LeaseHandle implements Lease {
  readonly sessionId: string;
  readonly mode: LeaseMode;
  readonly vm: Vm;
  readonly workdir = workdir;
  readonly shell: string;
  readonly shellArgs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly #parts: LeaseParts;
  readonly #over = new AbortController();
  readonly #underWay = new Set<Promise<unknown>>();
  #released: Promise<void> | undefined;

  constructor(parts: LeaseParts) {
    const { sessionId, mode, options, runtime, vmId } = parts;
    this.#parts = parts;
    this.sessionId = sessionId;
    this.mode = mode;
    this.vm = new VmHandle(runtime, vmId);
    this.shell = options.shell;
    this.shellArgs = options.shellArgs;
    this.env = options.env;
  }

  async exec(command: string, options: SessionExecOptions = {}): Promise<ExecResult> {
    const request = this.#request([this.shell, ...this.shellArgs, command], options);
    return this.#while(options.signal, (signal) =>
      this.#parts.runtime.exec(this.#parts.vmId, { ...options, ...request, signal }),
    );
  }

  async spawn(command: string | undefined, options: SessionSpawnOptions = {}): Promise<GuestProcess> {
    const argv = command === undefined ? [] : [...this.shellArgs, command];
    const { signal: given, onProgress, ...rest } = options;
    const request = { ...rest, ...this.#request([this.shell, ...argv], options) };
    return this.#hold(given, (signal) =>
      this.#parts.runtime.spawn(this.#parts.vmId, request, { signal, ...(onProgress && { onProgress }) }),
    );
  }

  async attach(commandId: string, options: CallOptions = {}): Promise<GuestProcess> {
    return this.#hold(options.signal, (signal) =>
      this.#parts.runtime.attach(this.#parts.vmId, commandId, { ...options, signal }),
    );
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  async #release(): Promise<void> {
    this.#over.abort(new Error('its lease was given back'));
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
    this.#parts.giveBack();
  }

  #request(
    argv: readonly [string, ...string[]],
    { env, cwd }: Pick<ExecRequest, 'env' | 'cwd'>,
  ): Pick<ExecRequest, 'command' | 'cwd' | 'env'> {
    const { nixProfile } = this.#parts.options;
    return {
      command: nixProfile === undefined ? argv : ['nix', 'develop', nixProfile, '--command', ...argv],
      cwd: cwd ?? workdir,
      env: { ...this.env, ...env },
    };
  }

  /** Work that the release waits for, and ends. */
  async #while<T>(given: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#over.signal.aborted) {
      throw new AlcoveError('LeaseReleased', `the lease of session ${this.sessionId} was given back`, {
        details: { sessionId: this.sessionId },
      });
    }
    const abort = new AbortController();
    const follow = [this.#over.signal, ...(given ? [given] : [])];
    const onAbort = () => abort.abort(follow.find(({ aborted }) => aborted)?.reason);
    for (const signal of follow) signal.addEventListener('abort', onAbort, { once: true });
    if (given?.aborted) onAbort();
    const done = work(abort.signal);
    this.#underWay.add(done);
    try {
      return await done;
    } finally {
      this.#underWay.delete(done);
      for (const signal of follow) signal.removeEventListener('abort', onAbort);
    }
  }

  /** A process whose streams the caller has: the release ends it, or lets go of it when it is detached. */
  async #hold(
    given: AbortSignal | undefined,
    begin: (signal: AbortSignal) => Promise<GuestProcess>,
  ): Promise<GuestProcess> {
    const begun = Promise.withResolvers<GuestProcess>();
    const lasting = this.#while(given, async (signal) => {
      const process = await begin(signal);
      begun.resolve(process);
      await process.exited.catch(() => undefined); // Told to who has the process.
    });
    lasting.catch(begun.reject);
    return begun.promise;
  }
}
