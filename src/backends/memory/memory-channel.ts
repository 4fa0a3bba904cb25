import { AlcoveError, cancelled } from '../../errors.ts';
import type {
  CallOptions,
  DetachedCommand,
  ExecRequest,
  GuestChannel,
  GuestConnection,
  GuestHello,
  GuestHookEvent,
  GuestIdentity,
  GuestProcess,
  GuestRenewal,
  GuestRenewed,
  GuestUsage,
} from '../../guest/index.ts';
import { BytePipe } from './byte-pipe.ts';
import type { MemoryLogEntry } from './call-log.ts';
import { fileError, unreachable } from './guest-error.ts';
import { MemoryFiles } from './memory-files.ts';
import type { MemoryGuest } from './memory-guest.ts';
import { hooksOf, runHooks } from './memory-hooks.ts';
import { commandLine } from './script.ts';

/** Serves connections to a port of scripted guests. */
export type PortHandler = (connection: {
  readable: AsyncIterable<Uint8Array>;
  write(chunk: Uint8Array | string): Promise<void>;
  end(): void;
}) => void | Promise<void>;

/** What a channel needs besides the guest. */
export interface ChannelHost {
  log(entry: MemoryLogEntry): void;
  portHandler(vm: string, port: number): PortHandler | undefined;
  readonly shape: { memoryMiB: number; diskMiB: number };
}

/** The host's end of a scripted guest. */
export class MemoryChannel implements GuestChannel {
  readonly hello: GuestHello;
  readonly closed: Promise<Error>;
  readonly files: MemoryFiles;
  readonly #guest: MemoryGuest;
  readonly #host: ChannelHost;
  readonly #closing = Promise.withResolvers<Error>();
  #broken: Error | undefined;

  constructor(guest: MemoryGuest, host: ChannelHost) {
    this.#guest = guest;
    this.#host = host;
    this.closed = this.#closing.promise;
    this.hello = {
      protocol: 2,
      agentVersion: 'memory',
      bootId: guest.bootId,
      ready: true,
      kernelRelease: 'memory',
    };
    this.files = new MemoryFiles({
      disk: guest.disk,
      nowMs: () => guest.nowMs(),
      ready: (path, options) => this.#going(path, options),
      log: (call, about) => host.log({ vm: guest.vmId, call, about }),
    });
  }

  async ping(options: CallOptions = {}): Promise<void> {
    this.#check(options);
  }

  async setup(_request: unknown, options: CallOptions = {}): Promise<void> {
    this.#check(options);
    throw new AlcoveError('InvalidInput', 'this guest is set up already', { details: { field: 'setup' } });
  }

  /** There is no code to translate. */
  async rehearse(_request: unknown, options: CallOptions = {}): Promise<void> {
    await this.#going('a rehearsal', options);
  }

  async exec(request: ExecRequest, options: CallOptions = {}): Promise<GuestProcess> {
    await this.#going('the command', options);
    this.#host.log({ vm: this.#guest.vmId, call: 'exec', about: commandLine(request.command) });
    return this.#cancellable(this.#guest.exec(request), options, request.detachedId === undefined);
  }

  async attach(id: string, options: CallOptions = {}): Promise<GuestProcess> {
    await this.#going('attaching to a command', options);
    this.#host.log({ vm: this.#guest.vmId, call: 'attach', about: id });
    return this.#cancellable(this.#guest.attach(id), options, false);
  }

  async listDetached(options: CallOptions = {}): Promise<DetachedCommand[]> {
    await this.#going('listing commands', options);
    return this.#guest.listDetached();
  }

  async dial(port: number, options: CallOptions = {}): Promise<GuestConnection> {
    await this.#going('connecting', options);
    this.#host.log({ vm: this.#guest.vmId, call: 'dial', about: String(port) });
    const handler = this.#host.portHandler(this.#guest.vmId, port);
    if (!handler) throw fileError('ECONNREFUSED', `127.0.0.1:${port}`);
    const toGuest = new BytePipe();
    const fromGuest = new BytePipe();
    void (async () => {
      try {
        await handler({
          readable: toGuest.read(),
          write: async (chunk) => {
            await fromGuest.write(Buffer.from(chunk));
          },
          end: () => fromGuest.end(),
        });
        fromGuest.end();
      } catch (error) {
        fromGuest.break(error instanceof Error ? error : new Error(String(error)));
      }
    })();
    void this.closed.then((error) => fromGuest.break(error));
    return {
      readable: fromGuest.read(),
      writable: {
        write: async (chunk) => {
          await toGuest.write(chunk);
        },
        end: async () => toGuest.end(),
      },
      [Symbol.asyncDispose]: async () => {
        toGuest.end();
        fromGuest.break();
      },
    };
  }

  async freeze(
    options: CallOptions & { maxMs?: number; processes?: 'freeze' | 'leave' } = {},
  ): Promise<void> {
    this.#check(options);
    this.#guest.disk.sync();
    if (options.processes === 'freeze') this.#guest.seal.close(this, options.maxMs ?? 10_000);
  }

  async thaw(options: CallOptions = {}): Promise<void> {
    this.#check(options);
    this.#guest.seal.thaw(this);
  }

  async renew(request: GuestRenewal, options: CallOptions = {}): Promise<GuestRenewed> {
    this.#check(options);
    checkSeed(request.entropy, 'entropy');
    this.#become(request.identity);
    this.#guest.seal.open();
    return { hooks: hooksOf(this.#guest, 'after-restore').length > 0 ? 'some' : 'none' };
  }

  async runHooks(event: GuestHookEvent, options: CallOptions & { timeoutMs?: number } = {}): Promise<void> {
    await this.#going(`the ${event} hooks`, options);
    await runHooks(this.#guest, event, options);
  }

  async setClock(_unixMs: number, options: CallOptions = {}): Promise<void> {
    this.#check(options);
  }

  async addEntropy(seed: Uint8Array, options: CallOptions = {}): Promise<void> {
    this.#check(options);
    checkSeed(seed, 'seed');
  }

  async setIdentity(identity: GuestIdentity, options: CallOptions = {}): Promise<void> {
    await this.#going('setting the identity', options);
    this.#become(identity);
  }

  async setNetwork(_network: unknown, options: CallOptions = {}): Promise<void> {
    await this.#going('setting up the network', options);
  }

  async usage(options: CallOptions = {}): Promise<GuestUsage> {
    this.#check(options);
    const { memoryMiB, diskMiB } = this.#host.shape;
    const mebibyte = 1024 * 1024;
    return {
      memoryTotalBytes: memoryMiB * mebibyte,
      memoryAvailableBytes: memoryMiB * mebibyte,
      diskTotalBytes: diskMiB * mebibyte,
      diskUsedBytes: this.#guest.disk.usedBytes(),
      cpuMs: 0,
      processes: this.#guest.processes.size,
      uptimeMs: this.#guest.clock.uptimeMs(),
    };
  }

  async shutdown(options: CallOptions = {}): Promise<void> {
    this.#check(options);
    this.#guest.disk.sync();
  }

  /** Ends the channel: the machine went away, or this engine lets go of it. */
  break(error: Error): void {
    if (this.#broken) return;
    this.#broken = error;
    this.#guest.dropClients(error);
    this.#closing.resolve(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.break(unreachable(this.#guest.vmId, 'the channel was closed'));
  }

  #become({ hostname, machineId }: GuestIdentity): void {
    this.#guest.hostname = hostname;
    this.#guest.machineId = machineId;
  }

  /** As {@link #check}, for what waits while the guest is sealed. */
  async #going(what: string, options: CallOptions): Promise<void> {
    this.#check(options);
    await this.#guest.seal.whenOpen(what, this.closed, options.signal);
    this.#check(options);
  }

  #check({ signal }: CallOptions): void {
    if (signal?.aborted) throw cancelled(`a call to VM ${this.#guest.vmId}`, signal);
    if (this.#broken) throw this.#broken;
  }

  /** When the signal fires, the command's whole tree is killed and its exit is `Cancelled`; a detached one is only let go. */
  #cancellable(process: GuestProcess, { signal }: CallOptions, kill: boolean): GuestProcess {
    if (!signal) return process;
    const exit = Promise.withResolvers<Awaited<GuestProcess['exited']>>();
    exit.promise.catch(() => undefined); // Whoever asks gets it; nobody has to.
    const onAbort = () => {
      exit.reject(cancelled('the command', signal));
      if (kill) void process.kill('SIGKILL');
      void process[Symbol.asyncDispose]();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    process.exited
      .then(exit.resolve, exit.reject)
      .finally(() => signal.removeEventListener('abort', onAbort));
    return { ...process, exited: exit.promise, [Symbol.asyncDispose]: () => process[Symbol.asyncDispose]() };
  }
}

function checkSeed(seed: Uint8Array, field: string): void {
  if (seed.length < 32 || seed.length > 512) {
    throw new AlcoveError('InvalidInput', `${field} must have 32 to 512 bytes`, { details: { field } });
  }
}
