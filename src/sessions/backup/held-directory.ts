import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncPath } from '../../store/index.ts';

/**
 * A directory that is held open. Names in it are reached through the descriptor (Node has no `openat`), so they stay in it, and can be
 * cleaned up, when another takes its place meanwhile: a disk that is unmounted, a folder that is moved away.
 */
export class HeldDirectory implements AsyncDisposable {
  readonly path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** Makes it, private, when there is none. @throws what the file system says */
  static async make(path: string): Promise<HeldDirectory> {
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    if (first !== undefined) {
      for (let made = path; made.length >= first.length; made = dirname(made)) await syncPath(dirname(made));
    }
    return HeldDirectory.open(path);
  }

  /** @throws what the file system says */
  static async open(path: string): Promise<HeldDirectory> {
    return new HeldDirectory(path, await open(path, constants.O_RDONLY | constants.O_DIRECTORY));
  }

  /** A path that is good while it is held. */
  at(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`;
  }

  /** Makes new and removed names survive power loss. */
  async sync(): Promise<void> {
    await this.#handle.sync();
  }

  /** Whether it is still what its path leads to. */
  async isInPlace(): Promise<boolean> {
    const [held, there] = await Promise.all([
      this.#handle.stat({ bigint: true }),
      stat(this.path, { bigint: true }).catch(() => undefined),
    ]);
    return there !== undefined && held.dev === there.dev && held.ino === there.ino;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}
