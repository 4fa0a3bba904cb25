import type { Connection } from './connection.ts';
import { commandLabel, encodeExec } from './exec-request.ts';
import { breach } from './failures.ts';
import type {
  CallOptions,
  DetachedCommand,
  ExecRequest,
  GuestChannel,
  GuestConnection,
  GuestFiles,
  GuestHello,
  GuestHookEvent,
  GuestIdentity,
  GuestNetwork,
  GuestProcess,
  GuestRehearsal,
  GuestRenewal,
  GuestRenewed,
  GuestSetup,
  GuestUsage,
} from './guest-channel.ts';
import type { CallSubject } from './guest-error.ts';
import { type Op, op, tag } from './protocol.ts';
import { receiveRecords } from './records.ts';
import { RemoteFiles } from './remote-files.ts';
import { RemoteProcess, readExit } from './remote-process.ts';
import {
  encodeIdentity,
  encodeNetwork,
  encodeRehearsal,
  encodeRenewal,
  encodeSetup,
  toUnixNs,
} from './setup-request.ts';
import { required, type TlvReader } from './wire/tlv-reader.ts';
import { TlvWriter } from './wire/tlv-writer.ts';

/** Far more than a guest can run: what claims more is not believed. */
const maxListedCommands = 65_536;

/** A guest that is in step: each method is one request of `agent/PROTOCOL.md`. */
export class ConnectedGuest implements GuestChannel {
  readonly hello: GuestHello;
  readonly closed: Promise<Error>;
  readonly files: GuestFiles;
  readonly #connection: Connection;

  constructor(connection: Connection, hello: GuestHello) {
    this.#connection = connection;
    this.hello = hello;
    this.closed = connection.closed;
    this.files = new RemoteFiles(connection);
  }

  async ping(options: CallOptions = {}): Promise<void> {
    await this.#ask(op.PING, { what: 'reach the guest' }, new TlvWriter(), options);
  }

  async setup(request: GuestSetup, options: CallOptions = {}): Promise<void> {
    await this.#ask(op.SETUP, { what: 'set up the guest' }, encodeSetup(request), options);
  }

  async rehearse(request: GuestRehearsal, options: CallOptions = {}): Promise<void> {
    const subject = { what: 'rehearse a start', field: 'upperSerial' };
    await this.#ask(op.REHEARSE, subject, encodeRehearsal(request), options);
  }

  async exec(request: ExecRequest, options: CallOptions = {}): Promise<GuestProcess> {
    const payload = encodeExec(request);
    const subject = { what: `run the command ${commandLabel(request.command)}`, field: 'command' };
    const call = this.#connection.open({ op: op.EXEC, payload, subject, signal: options.signal });
    return RemoteProcess.start(this.#connection, call, request.stdin ?? 'none');
  }

  async attach(id: string, options: CallOptions = {}): Promise<GuestProcess> {
    const payload = new TlvWriter().text(tag.DETACHED_ID, 'id', id).finish();
    const subject = { what: `attach to the command ${id}`, field: 'id' };
    const call = this.#connection.open({ op: op.ATTACH, payload, subject, signal: options.signal });
    return RemoteProcess.start(this.#connection, call, 'pipe');
  }

  async listDetached(options: CallOptions = {}): Promise<DetachedCommand[]> {
    const call = this.#connection.open({
      op: op.LIST_DETACHED,
      payload: new Uint8Array(),
      subject: { what: 'list commands' },
      signal: options.signal,
    });
    const commands: DetachedCommand[] = [];
    for await (const record of receiveRecords(this.#connection, call)) {
      if (commands.length === maxListedCommands) this.#connection.read(() => tooManyCommands());
      commands.push(this.#connection.read(() => readDetached(record)));
    }
    return commands;
  }

  async dial(port: number, options: CallOptions = {}): Promise<GuestConnection> {
    const call = this.#connection.open({
      op: op.DIAL,
      payload: new TlvWriter().u16(tag.PORT, 'port', port).finish(),
      subject: { what: `connect to port ${port} in the guest`, path: `127.0.0.1:${port}`, field: 'port' },
      signal: options.signal,
    });
    await call.opened;
    return {
      readable: call.main,
      writable: call.outbound,
      [Symbol.asyncDispose]: () => call[Symbol.asyncDispose](),
    };
  }

  async freeze(
    options: CallOptions & { maxMs?: number; processes?: 'freeze' | 'leave' } = {},
  ): Promise<void> {
    const request = new TlvWriter()
      .u64(tag.MAX_MS, 'maxMs', options.maxMs)
      .flag(tag.SEAL, options.processes === 'freeze' || undefined);
    await this.#ask(op.FREEZE, { what: 'freeze the guest' }, request, options);
  }

  async thaw(options: CallOptions = {}): Promise<void> {
    await this.#ask(op.THAW, { what: 'thaw the guest', field: 'thaw' }, new TlvWriter(), options);
  }

  async renew(request: GuestRenewal, options: CallOptions = {}): Promise<GuestRenewed> {
    const payload = encodeRenewal(new TlvWriter(), request);
    const answer = await this.#ask(op.RENEW, { what: 'renew the guest' }, payload, options);
    const hooks = this.#connection.read(() => required(answer.u8(tag.HOOKS), 'whether there are hooks'));
    return { hooks: hooks === 0 ? 'none' : 'some' };
  }

  async runHooks(event: GuestHookEvent, options: CallOptions & { timeoutMs?: number } = {}): Promise<void> {
    const request = new TlvWriter()
      .text(tag.NAME, 'event', event)
      .u64(tag.TIMEOUT_MS, 'timeoutMs', options.timeoutMs);
    await this.#ask(op.HOOKS, { what: `run the ${event} hooks`, field: 'event' }, request, options);
  }

  async setClock(unixMs: number, options: CallOptions = {}): Promise<void> {
    const request = new TlvWriter().u64(tag.UNIX_NS, 'unixMs', toUnixNs(unixMs));
    await this.#ask(op.CLOCK, { what: 'set the clock', field: 'unixMs' }, request, options);
  }

  async addEntropy(seed: Uint8Array, options: CallOptions = {}): Promise<void> {
    const request = new TlvWriter().bytes(tag.ENTROPY, 'seed', seed);
    await this.#ask(op.ENTROPY, { what: 'add entropy', field: 'seed' }, request, options);
  }

  async setIdentity(identity: GuestIdentity, options: CallOptions = {}): Promise<void> {
    const request = encodeIdentity(new TlvWriter(), identity);
    await this.#ask(op.IDENTITY, { what: 'set the identity', field: 'identity' }, request, options);
  }

  async setNetwork(network: GuestNetwork, options: CallOptions = {}): Promise<void> {
    const request = encodeNetwork(new TlvWriter(), network);
    await this.#ask(op.NETWORK, { what: 'set up the network', field: 'network' }, request, options);
  }

  async usage(options: CallOptions = {}): Promise<GuestUsage> {
    const answer = await this.#ask(op.USAGE, { what: 'measure the guest' }, new TlvWriter(), options);
    return this.#connection.read(() => readUsage(answer));
  }

  async shutdown(options: CallOptions & { graceMs?: number } = {}): Promise<void> {
    const request = new TlvWriter().u64(tag.GRACE_MS, 'graceMs', options.graceMs);
    await this.#ask(op.SHUTDOWN, { what: 'shut down the guest' }, request, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #ask(op: Op, subject: CallSubject, request: TlvWriter, options: CallOptions): Promise<TlvReader> {
    return this.#connection.ask({ op, subject, payload: request.finish(), signal: options.signal });
  }
}

function tooManyCommands(): never {
  throw breach(`more than ${maxListedCommands} commands`);
}

function readDetached(record: TlvReader): DetachedCommand {
  const command = {
    id: required(record.text(tag.DETACHED_ID, 64), 'the id of a command'),
    pid: required(record.u32(tag.PID), 'the pid of a command'),
  };
  return record.u8(tag.RUNNING) === 1 ? command : { ...command, exit: readExit(record) };
}

function readUsage(answer: TlvReader): GuestUsage {
  const figure = (which: Parameters<TlvReader['u64']>[0]) => required(answer.u64(which), 'a figure');
  return {
    memoryTotalBytes: figure(tag.MEMORY_TOTAL),
    memoryAvailableBytes: figure(tag.MEMORY_AVAILABLE),
    diskTotalBytes: figure(tag.DISK_TOTAL),
    diskUsedBytes: figure(tag.DISK_USED),
    cpuMs: figure(tag.CPU_US) / 1_000,
    processes: required(answer.u32(tag.PROCESSES), 'a figure'),
    uptimeMs: figure(tag.UPTIME_US) / 1_000,
  };
}
