import { BytePipe, type ByteTarget } from './byte-pipe.ts';

/** So many of the first and of the last bytes of a detached command are kept, per stream, as the guest agent does. */
const keptPerEnd = 65_536;

/** Output of a detached command: kept within a bound, and passed on to the client that is attached. */
export class RetainedOutput implements ByteTarget {
  #head = Buffer.alloc(0);
  #tail = Buffer.alloc(0);
  #client: BytePipe | undefined;
  #ended = false;

  async write(chunk: Uint8Array): Promise<boolean> {
    const room = keptPerEnd - this.#head.length;
    this.#head = Buffer.concat([this.#head, chunk.subarray(0, room)]);
    if (chunk.length > room) {
      const all = Buffer.concat([this.#tail, chunk.subarray(room)]);
      this.#tail = Buffer.from(all.subarray(Math.max(0, all.length - keptPerEnd)));
    }
    const client = this.#client;
    if (client && !(await client.write(chunk)) && this.#client === client) this.#client = undefined;
    return true;
  }

  end(): void {
    this.#ended = true;
    this.#client?.end();
  }

  break(error?: Error): void {
    this.#ended = true;
    this.#client?.break(error);
  }

  /** Lets a client read what is kept, then what follows; the client before it is let go. */
  attach(): BytePipe {
    this.#client?.end();
    const pipe = new BytePipe();
    void pipe.write(Buffer.concat([this.#head, this.#tail]));
    if (this.#ended) pipe.end();
    this.#client = pipe;
    return pipe;
  }
}
