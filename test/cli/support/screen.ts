import xterm from '@xterm/headless';
import type { TerminalSize } from '../../../src/guest/index.ts';
import type { FakeIo } from './fake-io.ts';

/** What a user sees of what was written to a terminal: scrolled-out lines and the screen, by a real terminal's rules. */
export class Screen {
  readonly #io: FakeIo;
  readonly #terminal: xterm.Terminal;
  #taken = 0;

  constructor(io: FakeIo, { rows, columns }: TerminalSize) {
    this.#io = io;
    // `convertEol`: as a terminal's line discipline does (ONLCR).
    this.#terminal = new xterm.Terminal({
      rows,
      cols: columns,
      scrollback: 10_000,
      convertEol: true,
      allowProposedApi: true,
    });
  }

  /** All lines without the empty ones below the last, colours left out. */
  async lines(): Promise<string[]> {
    await this.#catchUp();
    const { active } = this.#terminal.buffer;
    const lines = Array.from(
      { length: active.length },
      (_, i) => active.getLine(i)?.translateToString(true) ?? '',
    );
    return lines.slice(0, lines.findLastIndex((line) => line !== '') + 1);
  }

  /** Lines that are on the screen now, not scrolled out. */
  async visible(): Promise<string[]> {
    await this.#catchUp();
    const { active } = this.#terminal.buffer;
    const lines = Array.from(
      { length: this.#terminal.rows },
      (_, i) => active.getLine(active.baseY + i)?.translateToString(true) ?? '',
    );
    return lines.slice(0, lines.findLastIndex((line) => line !== '') + 1);
  }

  /** What the terminal itself writes, e.g. `^C`. */
  async echo(text: string): Promise<void> {
    await this.#catchUp();
    await this.#write(text);
  }

  /** The window gets another size; lines that are too long wrap, as in most terminals. */
  async resize(size: TerminalSize): Promise<void> {
    await this.#catchUp();
    this.#terminal.resize(size.columns, size.rows);
    this.#io.resize(size);
  }

  async #catchUp(): Promise<void> {
    const chunks = this.#io.stdout.chunks.slice(this.#taken);
    this.#taken += chunks.length;
    await this.#write(Buffer.concat(chunks));
  }

  #write(data: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#terminal.write(data, resolve));
  }
}
