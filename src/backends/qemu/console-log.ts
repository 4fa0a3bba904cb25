import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { consoleBytes } from './machine-args.ts';

/**
 * The end of what a machine printed on its console, at most 256 KiB whatever it prints. QEMU's ring forgets what was
 * read, so what was read is kept here, and in a file for the time after.
 */
export class ConsoleLog {
  readonly path: string;
  #tail: Buffer;
  #saving: Promise<void> = Promise.resolve();

  private constructor(path: string, tail: Buffer) {
    this.path = path;
    this.#tail = tail;
  }

  /** Of a new run: forgets the last one's. */
  static empty(path: string): ConsoleLog {
    return new ConsoleLog(path, Buffer.alloc(0));
  }

  /** Of the current or last run, as far as it was saved. */
  static load(path: string): ConsoleLog {
    try {
      return new ConsoleLog(path, readFileSync(path).subarray(-consoleBytes));
    } catch {
      return ConsoleLog.empty(path); // Never saved.
    }
  }

  append(bytes: Buffer): void {
    this.#tail = Buffer.from(Buffer.concat([this.#tail, bytes]).subarray(-consoleBytes));
  }

  text(): string {
    return this.#tail.toString('utf8').replaceAll('\r\n', '\n');
  }

  /** The last lines that say something. */
  lastLines(count: number): string {
    const lines = this.text().split('\n');
    return lines
      .map((line) => line.trimEnd())
      .filter((line) => line !== '')
      .slice(-count)
      .join('\n');
  }

  /** Not synced: it is for reading, nothing depends on it. */
  save(): Promise<void> {
    const write = async () => {
      await writeFile(`${this.path}.tmp`, this.#tail, { mode: 0o600 });
      await rename(`${this.path}.tmp`, this.path);
    };
    this.#saving = this.#saving.then(write, write);
    return this.#saving;
  }
}
