import { breach, invalid } from './failures.ts';
import { windowBytes } from './protocol.ts';

/** Small chunks that nobody waits for are put together in blocks of this size. */
const blockBytes = 16_384;

/**
 * How soon a reader gets bytes: `prompt`, each as it comes; `bulk`, in large blocks, for streams of which only the whole is of
 * use. A guest that sends in bulk gets four times the credit, and so is interrupted for more of it a quarter as often.
 */
export type Delivery = 'prompt' | 'bulk';

const bulkWindowBytes = 4 * windowBytes;
const bulkBlockBytes = bulkWindowBytes / 4;

interface Block {
  bytes: Buffer;
  used: number;
}

type Waiter = {
  resolve(result: IteratorResult<Uint8Array, undefined>): void;
  reject(error: unknown): void;
};

/**
 * Bytes that the guest sends on one channel of one stream, until somebody reads them. Holds one window at most, for the
 * guest gets new credit only as its bytes are read. Every chunk handed out belongs to the reader.
 */
export class Inbound implements AsyncIterable<Uint8Array> {
  readonly #name: string;
  readonly #grant: (bytes: number) => void;
  readonly #delivery: Delivery;
  /** Credit is granted in steps of so much: often enough to keep the guest sending, rarely enough to cost nothing. */
  readonly #grantStepBytes: number;
  #blocks: Block[] = [];
  #credit = windowBytes;
  #owed = 0;
  #state: 'open' | 'ended' | { error: unknown } = 'open';
  #eof = false;
  #discarding = false;
  #iterated = false;
  #waiters: Waiter[] = [];

  /** @param grant sends the guest so much more credit */
  constructor(name: string, grant: (bytes: number) => void, delivery: Delivery = 'prompt') {
    this.#name = name;
    this.#grant = grant;
    this.#delivery = delivery;
    this.#grantStepBytes = (delivery === 'bulk' ? bulkWindowBytes : windowBytes) / 4;
  }

  /** Gives the guest what credit it has beyond that of every stream. Called once it knows of the stream. */
  begin(): void {
    if (this.#delivery === 'prompt') return;
    this.#credit += bulkWindowBytes - windowBytes;
    this.#grant(bulkWindowBytes - windowBytes);
  }

  /** Takes a chunk from the guest; the view is copied. @throws AlcoveError `GuestProtocol` beyond credit or after the end */
  push(view: Uint8Array): void {
    if (this.#eof) throw breach(`data after the end of ${this.#name}`);
    if (view.length > this.#credit) throw breach(`more of ${this.#name} than it has credit for`);
    if (view.length === 0) return;
    this.#credit -= view.length;
    if (this.#discarding) {
      this.#consumed(view.length);
      return;
    }
    if (this.#delivery === 'bulk') {
      this.#fill(view);
      this.#serve();
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter) {
      waiter.resolve({ done: false, value: ownCopy(view) });
      this.#consumed(view.length);
      return;
    }
    this.#hold(view);
  }

  /** The guest said that no more comes. @throws AlcoveError `GuestProtocol` the second time */
  eof(): void {
    if (this.#eof) throw breach(`the end of ${this.#name} twice`);
    this.#eof = true;
    this.#serve();
    this.#settle('ended');
  }

  /** The stream is over: readers get what is held, then the end or the error. */
  finish(outcome: 'ended' | { error: unknown }): void {
    this.#eof = true;
    this.#serve();
    this.#settle(outcome);
  }

  /** Nobody will read on: drops what is held and what still comes, and keeps the guest going. */
  discard(): void {
    if (this.#discarding) return;
    this.#discarding = true;
    let held = 0;
    for (const block of this.#blocks) held += block.used;
    this.#blocks = [];
    this.#consumed(held);
  }

  /** Bytes held now. */
  get heldBytes(): number {
    return this.#blocks.reduce((sum, block) => sum + block.used, 0);
  }

  /** The next chunk, when one is held. */
  take(): Uint8Array | undefined {
    const [block] = this.#blocks;
    if (!block || (this.#delivery === 'bulk' && !this.#eof && block.used < block.bytes.length))
      return undefined;
    this.#blocks.shift();
    this.#consumed(block.used);
    return block.bytes.subarray(0, block.used);
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const value = this.take();
    if (value) return Promise.resolve({ done: false, value });
    if (typeof this.#state === 'object') {
      const { error } = this.#state;
      this.#state = 'ended'; // An iterator reports its error once.
      return Promise.reject(error);
    }
    if (this.#state === 'ended') return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    if (this.#iterated) throw invalid(this.#name, 'can be iterated only once');
    this.#iterated = true;
    return {
      next: () => this.next(),
      return: () => {
        this.discard();
        this.#settle('ended');
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #hold(view: Uint8Array): void {
    const last = this.#blocks.at(-1);
    if (last && last.bytes.length - last.used >= view.length) {
      last.bytes.set(view, last.used);
      last.used += view.length;
      return;
    }
    const bytes = Buffer.allocUnsafeSlow(Math.max(view.length, blockBytes));
    bytes.set(view);
    this.#blocks.push({ bytes, used: view.length });
  }

  /** Puts a chunk into blocks of one size, each filled before the next is begun. */
  #fill(view: Uint8Array): void {
    for (let rest = view; rest.length > 0; ) {
      let last = this.#blocks.at(-1);
      if (!last || last.used === last.bytes.length) {
        last = { bytes: Buffer.allocUnsafeSlow(bulkBlockBytes), used: 0 };
        this.#blocks.push(last);
      }
      const now = rest.subarray(0, last.bytes.length - last.used);
      last.bytes.set(now, last.used);
      last.used += now.length;
      rest = rest.subarray(now.length);
    }
  }

  /** Hands what is held to those who wait. */
  #serve(): void {
    while (this.#waiters.length > 0) {
      const value = this.take();
      if (!value) return;
      this.#waiters.shift()?.resolve({ done: false, value });
    }
  }

  #consumed(bytes: number): void {
    this.#owed += bytes;
    if (this.#owed < this.#grantStepBytes || this.#eof) return;
    this.#credit += this.#owed;
    this.#grant(this.#owed);
    this.#owed = 0;
  }

  #settle(outcome: 'ended' | { error: unknown }): void {
    if (this.#state === 'ended' || typeof this.#state === 'object') return;
    this.#state = outcome;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      if (outcome === 'ended') waiter.resolve({ done: true, value: undefined });
      else waiter.reject(outcome.error);
    }
  }
}

function ownCopy(view: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(view.length);
  copy.set(view);
  return copy;
}
