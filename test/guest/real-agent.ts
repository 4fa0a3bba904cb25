import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectGuest, type GuestChannel } from '../../src/guest/index.ts';

const binary = fileURLToPath(new URL('../../dist/agent/alcove-agent', import.meta.url));

/**
 * The guest agent as an ordinary process of this host, its root being the host's. `dir` is an empty directory for the
 * test to work in.
 */
export class RealAgent implements AsyncDisposable {
  readonly dir: string;
  /** Where its hooks are; made by whoever wants some. */
  readonly hooksDir: string;
  readonly socketPath: string;
  readonly #home: string;
  readonly #process: ChildProcess;

  constructor() {
    this.#home = mkdtempSync(join(tmpdir(), 'agent-'));
    this.dir = mkdtempSync(join(this.#home, 'work-'));
    this.hooksDir = join(this.#home, 'hooks');
    this.socketPath = join(this.#home, 's');
    const args = ['--serve-unix', this.socketPath, '--root-ready', '--hooks', this.hooksDir];
    this.#process = spawn(binary, args, { stdio: 'inherit' });
  }

  connect(line: 'fresh' | 'stale' = 'fresh'): Promise<GuestChannel> {
    return connectGuest({ socketPath: this.socketPath, line, deadlineMs: 10_000 });
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.#home, { recursive: true });
  }
}
