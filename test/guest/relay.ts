import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Stands where a hypervisor does: the agent sees one line that never ends, while hosts come and go. A host that goes takes
 * with it what it had only half sent; what the agent sends meanwhile waits for the next one.
 */
export class Relay implements AsyncDisposable {
  readonly socketPath: string;
  /** Bytes still passed on from the host; what is beyond is lost, as in a crash. */
  passFromHost = Number.POSITIVE_INFINITY;
  readonly #dir: string;
  readonly #server: Server;
  readonly #agent: Socket;
  #host: Socket | undefined;

  private constructor(agent: Socket) {
    this.#dir = mkdtempSync(join(tmpdir(), 'relay-'));
    this.socketPath = join(this.#dir, 's');
    this.#agent = agent;
    agent.pause();
    agent.on('data', (chunk) => {
      if (this.#host && !this.#host.write(chunk)) agent.pause();
    });
    agent.on('error', () => {}); // The test says when the agent ends.
    this.#server = createServer((host) => this.#join(host));
  }

  static async between(agentPath: string): Promise<Relay> {
    const agent = await connectSoon(agentPath);
    const relay = new Relay(agent);
    await new Promise<void>((resolve) => relay.#server.listen(relay.socketPath, resolve));
    return relay;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#host?.destroy();
    this.#agent.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#dir, { recursive: true });
  }

  #join(host: Socket): void {
    this.#host?.destroy();
    this.#host = host;
    this.#agent.resume();
    host.on('drain', () => this.#agent.resume());
    host.on('error', () => {}); // Hosts come and go.
    host.on('data', (chunk: Buffer) => {
      if (this.#host !== host) return; // What a host left behind never comes after the next one's bytes.
      const passed = chunk.subarray(0, Math.min(chunk.length, this.passFromHost));
      this.passFromHost -= passed.length;
      if (passed.length > 0) this.#agent.write(passed);
    });
    host.on('close', () => {
      if (this.#host !== host) return;
      this.#host = undefined;
      this.#agent.pause();
    });
  }
}

/** Connects as soon as somebody listens. */
async function connectSoon(path: string): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    const connected = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    if (connected) return socket;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
