/** The two ends of a hand-written QEMU that take lines of text: its monitor, and a shell behind a serial port. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Lines of a Unix socket that appears soon, in order. */
export class LineSocket {
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = readLines(socket);
  }

  static async open(path: string): Promise<LineSocket> {
    const deadline = performance.now() + 10_000;
    for (;;) {
      const socket = connect(path);
      try {
        await once(socket, 'connect');
        return new LineSocket(socket);
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await sleep(1);
      }
    }
  }

  write(line: string): void {
    this.#socket.write(`${line}\n`);
  }

  /** @throws when there is no line any more */
  async read(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error('the hand-written machine has ended');
    return value;
  }

  close(): void {
    this.#socket.destroy();
  }
}

async function* readLines(socket: Socket): AsyncGenerator<string, undefined> {
  let text = '';
  try {
    for await (const chunk of socket.setEncoding('utf8')) {
      const parts = `${text}${chunk}`.split('\n');
      text = parts.pop() ?? '';
      yield* parts;
    }
  } catch {
    // A reset is an end, too.
  }
}

/** Speaks QMP, just enough of it. */
export class Monitor {
  readonly #lines: LineSocket;

  private constructor(lines: LineSocket) {
    this.#lines = lines;
  }

  static async open(path: string): Promise<Monitor> {
    const monitor = new Monitor(await LineSocket.open(path));
    await monitor.#lines.read(); // The greeting.
    await monitor.do('qmp_capabilities');
    return monitor;
  }

  async do(execute: string, args: object = {}): Promise<unknown> {
    this.#lines.write(JSON.stringify({ execute, arguments: args }));
    for (;;) {
      const answer = JSON.parse(await this.#lines.read()) as { return?: unknown; error?: { desc: string } };
      if (answer.error) throw new Error(`${execute}: ${answer.error.desc}`);
      if (answer.return !== undefined) return answer.return;
    }
  }

  /** Waits for the end of a migration, in or out. */
  async migrated(): Promise<void> {
    for (;;) {
      const { status } = (await this.do('query-migrate')) as { status?: string };
      if (status === 'completed') return;
      if (status === 'failed') throw new Error('the migration failed');
      await sleep(1);
    }
  }

  close(): void {
    this.#lines.close();
  }
}
