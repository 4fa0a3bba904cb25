import { EventEmitter } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import type { CliIo, EndSignal } from '../../../src/cli/io.ts';
import type { TerminalSize } from '../../../src/guest/index.ts';
import { FakeClock } from './fake-clock.ts';

/** A stream that keeps what is written, and can be told to be slow or to break. */
export class Sink extends Writable {
  readonly chunks: Buffer[] = [];
  #held: (() => void)[] | undefined;
  #broken: Error | undefined;

  constructor() {
    super({ highWaterMark: 1024 });
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    const take = () => {
      if (this.#broken) return done(this.#broken);
      this.chunks.push(Buffer.from(chunk));
      done();
    };
    if (this.#held) this.#held.push(take);
    else take();
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  /** From now on nobody reads. */
  hold(): void {
    this.#held = [];
  }

  /** Takes the next chunk, as a slow reader does. */
  takeOne(): void {
    this.#held?.shift()?.();
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const take of held) take();
  }

  /** Every write fails from now on, as with a full disk or a reader that went away. */
  break(code: string): void {
    this.#broken = Object.assign(new Error(`write ${code}`), { code });
    this.release();
  }
}

export interface FakeIoOptions {
  env?: Record<string, string>;
  terminals?: readonly ('stdin' | 'stdout' | 'stderr')[];
  size?: TerminalSize;
}

/** A process that is not there. */
export class FakeIo implements CliIo {
  readonly stdin = new PassThrough();
  readonly stdout = new Sink();
  readonly stderr = new Sink();
  readonly clock = new FakeClock();
  readonly env: Record<string, string>;
  readonly forcedExits: number[] = [];
  /** What raw mode is and was. */
  readonly modes: ('raw' | 'cooked')[] = [];
  readonly #signals = new EventEmitter();
  readonly #resizes = new EventEmitter();
  readonly #terminals: readonly string[];
  #size: TerminalSize | undefined;

  constructor({ env = {}, terminals = [], size }: FakeIoOptions = {}) {
    this.env = env;
    this.#terminals = terminals;
    this.#size = size;
  }

  readonly terminal: CliIo['terminal'] = {
    isTerminal: (stream) => this.#terminals.includes(stream),
    size: () => this.#size,
    onResize: (listener) => {
      this.#resizes.on('resize', listener);
      return () => this.#resizes.off('resize', listener);
    },
    raw: () => {
      this.modes.push('raw');
      return { [Symbol.dispose]: () => this.modes.push('cooked') };
    },
  };

  onSignal(listener: (signal: EndSignal) => void): () => void {
    this.#signals.on('signal', listener);
    return () => this.#signals.off('signal', listener);
  }

  forceExit(exitCode: number): void {
    this.forcedExits.push(exitCode);
  }

  signal(signal: EndSignal): void {
    this.#signals.emit('signal', signal);
  }

  resize(size: TerminalSize): void {
    this.#size = size;
    this.#resizes.emit('resize', size);
  }

  /** Listeners that are still there; a test fails on those left over. */
  get leftovers(): number {
    return (
      this.#signals.listenerCount('signal') +
      this.#resizes.listenerCount('resize') +
      this.clock.pending +
      this.stdin.listenerCount('readable')
    );
  }
}
