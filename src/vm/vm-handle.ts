import { AlcoveError, isAlcoveError } from '../errors.ts';
import type { GuestFiles } from '../guest/index.ts';
import type { CallOptions } from './call-options.ts';
import { checkUserLabels, requireFree } from './reserved-labels.ts';
import type { VmCall } from './transitions.ts';
import type { ForkResult, RunOptions, SnapshotInfo, VmInfo } from './vm.ts';
import type { Vm } from './vm-calls.ts';
import type { VmRuntime } from './vm-runtime.ts';

/** {@link Vm} over a runtime in this process. What would end or halt a session's machine is refused: that is its pool's business. */
export class VmHandle implements Vm {
  readonly id: string;
  readonly files: GuestFiles;
  readonly #runtime: VmRuntime;

  constructor(runtime: VmRuntime, id: string) {
    this.#runtime = runtime;
    this.id = id;
    this.files = filesOf(() => runtime.guest(id));
  }

  async info(): Promise<VmInfo> {
    const info = await this.#runtime.get(this.id);
    if (!info) throw new AlcoveError('VmNotFound', `there is no VM ${this.id}`);
    return info;
  }

  async start(options?: CallOptions): Promise<void> {
    await this.#requireFree('start');
    await this.#runtime.start(this.id, options);
  }

  async stop(options?: CallOptions & { memory?: true; graceMs?: number }): Promise<void> {
    await this.#runtime.stop(this.id, options);
  }

  async pause(options?: CallOptions): Promise<void> {
    await this.#requireFree('pause');
    await this.#runtime.pause(this.id, options);
  }

  async resume(options?: CallOptions): Promise<void> {
    await this.#requireFree('resume');
    await this.#runtime.resume(this.id, options);
  }

  async snapshot(options?: Parameters<Vm['snapshot']>[0]): Promise<SnapshotInfo> {
    checkUserLabels(options?.labels);
    return this.#runtime.snapshot(this.id, options);
  }

  async fork(
    count: number,
    options: CallOptions & { ids?: string[]; start?: 'yes' | 'no' } = {},
  ): Promise<ForkResult[]> {
    const { start, ...rest } = options;
    const made = await this.#runtime.fork(this.id, count, rest);
    if (start !== 'yes') return made;
    return Promise.all(made.map((result) => ('vm' in result ? this.#startFork(result.id, options) : result)));
  }

  async destroy(options?: CallOptions): Promise<void> {
    await this.#requireFree('destroy');
    await this.#runtime.destroy(this.id, options);
  }

  exec(command: RunOptions) {
    return this.#runtime.exec(this.id, command);
  }

  spawn(...[request, options]: Parameters<Vm['spawn']>) {
    return this.#runtime.spawn(this.id, request, options);
  }

  attach(...[commandId, options]: Parameters<Vm['attach']>) {
    return this.#runtime.attach(this.id, commandId, options);
  }

  async detached(options?: CallOptions) {
    return (await this.#runtime.guest(this.id, options)).listDetached(options);
  }

  async dial(port: number, options?: CallOptions) {
    return (await this.#runtime.guest(this.id, options)).dial(port, options);
  }

  async ping(options?: CallOptions) {
    return (await this.#runtime.guest(this.id, options)).ping(options);
  }

  async usage(options?: CallOptions) {
    return (await this.#runtime.guest(this.id, options)).usage(options);
  }

  console(): Promise<string> {
    return this.#runtime.console(this.id);
  }

  exited(options?: { signal?: AbortSignal }): Promise<string> {
    return this.#runtime.exited(this.id, options);
  }

  /** Destroys it; one that is gone already is fine, and so is a session's, which stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.destroy();
    } catch (error) {
      const isNotOurs = isAlcoveError(error, 'VmInSession'); // It ends with its session.
      if (!isNotOurs && !isAlcoveError(error, 'InvalidTransition') && !isAlcoveError(error, 'VmNotFound'))
        throw error;
    }
  }

  async #requireFree(call: VmCall): Promise<void> {
    const info = await this.#runtime.get(this.id);
    if (info) requireFree(info, call);
  }

  /** A fork that does not start fails alone, and leaves no VM. */
  async #startFork(id: string, options: CallOptions): Promise<ForkResult> {
    try {
      return { id, vm: await this.#runtime.start(id, options) };
    } catch (error) {
      await new VmHandle(this.#runtime, id)[Symbol.asyncDispose]();
      return { id, error: error instanceof Error ? error : new Error(String(error)) };
    }
  }
}

/** The files of whatever channel the VM has when a call is made: a restart of the VM brings a new one. */
function filesOf(guest: () => Promise<{ files: GuestFiles }>): GuestFiles {
  return {
    async *read(...args) {
      yield* (await guest()).files.read(...args);
    },
    write: async (...args) => (await guest()).files.write(...args),
    stat: async (...args) => (await guest()).files.stat(...args),
    async *list(...args) {
      yield* (await guest()).files.list(...args);
    },
    mkdir: async (...args) => (await guest()).files.mkdir(...args),
    remove: async (...args) => (await guest()).files.remove(...args),
    rename: async (...args) => (await guest()).files.rename(...args),
    async *watch(...args) {
      yield* (await guest()).files.watch(...args);
    },
    tarIn: async (...args) => (await guest()).files.tarIn(...args),
    async *tarOut(...args) {
      yield* (await guest()).files.tarOut(...args);
    },
  };
}
