import { fileURLToPath } from 'node:url';
import xterm from '@xterm/headless';
import { expect, vi } from 'vitest';
import type { GuestChannel, GuestProcess, TerminalSize } from '../../src/guest/index.ts';
import { RealAgent } from '../guest/real-agent.ts';

const program = fileURLToPath(new URL('../../bin/alcove.js', import.meta.url));

const thenSaysHowItWasLeft =
  '"$@"; code=$?; case " $(stty -a) " in *" -icanon "*|*" -echo "*) echo left raw;; *) echo left as it was;; esac; exit $code';

/**
 * The CLI on real pseudo-terminals of this host. The guest agent makes them: it runs on the host as well as in a VM, and every checkout has
 * it, which cannot be said of `script`, `expect` or Python. When the CLI has ended, the terminal says in what state it was left.
 */
export class HostTerminals implements AsyncDisposable {
  readonly #agent = new RealAgent();
  readonly #env: Record<string, string>;
  #guest: Promise<GuestChannel> | undefined;

  constructor(env: Record<string, string>) {
    const given = Object.entries(process.env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    );
    this.#env = { ...Object.fromEntries(given), ...env };
  }

  async open(args: readonly string[], size: TerminalSize): Promise<HostTerminal> {
    this.#guest ??= this.#agent.connect('stale');
    const command = await (await this.#guest).exec({
      command: ['/bin/sh', '-c', thenSaysHowItWasLeft, 'sh', process.execPath, program, ...args],
      env: this.#env,
      pty: size,
      stdin: 'pipe',
      background: 'keep', // A machine that it starts outlives it.
    });
    return new HostTerminal(command, size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const guest = await this.#guest;
    await guest?.[Symbol.asyncDispose]();
    await this.#agent[Symbol.asyncDispose]();
  }
}

/** A terminal with a command on it: what a user types and sees. */
export class HostTerminal {
  readonly #command: GuestProcess;
  readonly #terminal: xterm.Terminal;
  readonly #shown: Promise<void>;

  constructor(command: GuestProcess, { rows, columns }: TerminalSize) {
    this.#command = command;
    this.#terminal = new xterm.Terminal({ rows, cols: columns, scrollback: 1000, allowProposedApi: true });
    this.#terminal.onData((answer) => this.type(answer)); // As a real one: what is asked of it is answered.
    this.#shown = this.#show();
    this.#shown.catch(() => undefined); // Told to who waits for the exit.
  }

  /** Rows as they stand, scrolled-out ones included. */
  get text(): string {
    const { active } = this.#terminal.buffer;
    const rows = Array.from(
      { length: active.length },
      (_, i) => active.getLine(i)?.translateToString(true) ?? '',
    );
    return rows.join('\n').trimEnd();
  }

  type(keys: string): void {
    this.#command.stdin.write(Buffer.from(keys)).catch(() => undefined); // It has ended; `exit` says how.
  }

  async resize(size: TerminalSize): Promise<void> {
    this.#terminal.resize(size.columns, size.rows);
    await this.#command.resize(size);
  }

  async shows(expected: string | RegExp): Promise<void> {
    await vi.waitFor(() => expect(this.text).toMatch(expected), { timeout: 20_000, interval: 20 });
  }

  /** The window is closed. */
  async hangUp(): Promise<void> {
    await this.#command.kill('SIGHUP');
  }

  async exit(): Promise<number> {
    const { exitCode } = await this.#command.exited;
    await this.#shown;
    return exitCode;
  }

  async #show(): Promise<void> {
    for await (const chunk of this.#command.stdout)
      await new Promise<void>((resolve) => this.#terminal.write(chunk, resolve));
  }
}
