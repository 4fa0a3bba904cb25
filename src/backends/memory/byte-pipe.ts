/** So many unread bytes fill a pipe, as on Linux (pipe(7)). */
const capacity = 65_536;

/** Where a command's output goes. */
export interface ByteTarget {
  /** Resolves when there is room for more; `false` when nobody will ever read it. */
  write(chunk: Uint8Array): Promise<boolean>;
  /** No more will be written; what is there can still be read. */
  end(): void;
  /** Drops what is there: a reader gets the error, or the end where there is none. */
  break(error?: Error): void;
}

/** A pipe in memory with back-pressure: a writer waits while it is full, a reader while it is empty. */
export class BytePipe implements ByteTarget {
  #chunks: Uint8Array[] = [];
  #size = 0;
  #state: 'open' | 'ended' | 'broken' = 'open';
  #error: Error | undefined;
  #changed = Promise.withResolvers<void>();

  async write(chunk: Uint8Array): Promise<boolean> {
    while (this.#size >= capacity && this.#state === 'open') await this.#changed.promise;
    if (this.#state !== 'open') return false;
    if (chunk.length === 0) return true;
    this.#chunks.push(Uint8Array.from(chunk));
    this.#size += chunk.length;
    this.#signal();
    return true;
  }

  end(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    this.#signal();
  }

  break(error?: Error): void {
    if (this.#state === 'broken') return;
    this.#state = 'broken';
    this.#error = error;
    this.#chunks = [];
    this.#size = 0;
    this.#signal();
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        const chunk = this.#chunks.shift();
        if (chunk) {
          this.#size -= chunk.length;
          this.#signal();
          yield chunk;
        } else if (this.#error) throw this.#error;
        else if (this.#state !== 'open') return;
        else await this.#changed.promise;
      }
    } finally {
      this.break();
    }
  }

  #signal(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
