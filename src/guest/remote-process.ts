import type { Call } from './call.ts';
import type { Connection } from './connection.ts';
import { breach, invalid } from './failures.ts';
import type { ExecExit, GuestProcess, GuestSink, TerminalSize } from './guest-channel.ts';
import { signalName, signalNumber } from './guest-signal.ts';
import { control, tag } from './protocol.ts';
import { required, type TlvReader } from './wire/tlv-reader.ts';
import { TlvWriter } from './wire/tlv-writer.ts';

/** A command under way in the guest, over one call. */
export class RemoteProcess implements GuestProcess {
  readonly pid: number;
  readonly stdin: GuestSink;
  readonly exited: Promise<ExecExit>;
  readonly #call: Call;

  private constructor(call: Call, pid: number, stdin: GuestSink, exited: Promise<ExecExit>) {
    this.#call = call;
    this.pid = pid;
    this.stdin = stdin;
    this.exited = exited;
    exited.catch(() => {}); // Whoever does not ask is not told as of an unhandled rejection.
  }

  /** Waits for the guest to say that it runs. */
  static async start(connection: Connection, call: Call, stdin: 'none' | 'pipe'): Promise<RemoteProcess> {
    const opened = await call.opened;
    const pid = connection.read(() => required(opened.u32(tag.PID), 'the pid of a command'));
    const exited = call.ended.then((answer) => connection.read(() => readExit(answer)));
    return new RemoteProcess(call, pid, stdin === 'pipe' ? call.outbound : noStdin, exited);
  }

  get stdout(): AsyncIterable<Uint8Array> {
    return this.#call.main;
  }

  get stderr(): AsyncIterable<Uint8Array> {
    return this.#call.stderr;
  }

  async kill(signal: string | number): Promise<void> {
    const payload = new TlvWriter().u32(tag.SIGNAL, 'signal', signalNumber(signal)).finish();
    this.#call.control(control.SIGNAL, payload);
  }

  async resize(size: TerminalSize): Promise<void> {
    const payload = new TlvWriter().u16Pair(tag.PTY, 'size', size.rows, size.columns).finish();
    this.#call.control(control.RESIZE, payload);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#call[Symbol.asyncDispose]();
  }
}

/** The exit in an answer or a record. @throws AlcoveError `GuestProtocol` */
export function readExit(tlvs: TlvReader): ExecExit {
  const exitCode = required(tlvs.u32(tag.EXIT_CODE), 'an exit code');
  if (exitCode > 255) throw breach(`exit code ${exitCode}`);
  const signal = tlvs.u32(tag.SIGNAL);
  return {
    exitCode,
    ...(signal !== undefined && { signal: signalName(signal) }),
    timedOut: tlvs.u8(tag.TIMED_OUT) === 1,
    durationMs: (tlvs.u64(tag.DURATION_US) ?? 0) / 1_000,
    droppedBytes: tlvs.u64(tag.DROPPED) ?? 0,
  };
}

const noStdin: GuestSink = {
  async write() {
    throw invalid('stdin', "is not there; start the command with stdin: 'pipe'");
  },
  async end() {},
};
