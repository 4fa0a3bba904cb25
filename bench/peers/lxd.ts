/** LXD as a peer, where a server can be reached (`LXD_DIR` says which). Uses the `lxc` client, as its users do. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runTool } from '../../src/host/index.ts';
import type { Rootfs } from '../programs/rootfs.ts';

const execute = promisify(execFile);

export class Lxd implements AsyncDisposable {
  readonly version: string;
  /** All names of this run begin with it; the storage pool, the image and the container to copy bear it. */
  readonly #mark: string;
  readonly #copies = new Set<string>();

  private constructor(version: string, mark: string) {
    this.version = version;
    this.#mark = mark;
  }

  /** With a storage pool of plain directories, and in it a container that was never started. @throws when there is no client, or no server behind it */
  static async connect(rootfs: Rootfs, workDir: string): Promise<Lxd> {
    const { stdout } = await execute('lxc', ['version']);
    const version = /^Server version: (\d\S*)/m.exec(stdout)?.[1];
    if (!version) throw new Error(`the client finds no server:\n${stdout}`);
    const lxd = new Lxd(version, `alcove-bench-${process.pid}`);
    try {
      await lxd.#prepare(rootfs, workDir);
    } catch (error) {
      await lxd[Symbol.asyncDispose]();
      throw error;
    }
    return lxd;
  }

  /** `lxc copy` and `lxc start`. */
  async start(name: string): Promise<string> {
    const copy = `${this.#mark}-${name}`;
    this.#copies.add(copy);
    await this.#do('copy', this.#mark, copy);
    await this.#do('start', copy);
    return copy;
  }

  async exec(container: string, command: readonly string[]): Promise<void> {
    await this.#do('exec', container, '--', ...command);
  }

  async remove(container: string): Promise<void> {
    await this.#do('delete', '--force', container);
    this.#copies.delete(container);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = () => undefined; // Of a preparation that failed, not everything is there.
    for (const copy of this.#copies) await this.remove(copy).catch(gone);
    await this.#do('delete', '--force', this.#mark).catch(gone);
    await this.#do('image', 'delete', this.#mark).catch(gone);
    await this.#do('storage', 'delete', this.#mark).catch(gone);
  }

  async #prepare(rootfs: Rootfs, workDir: string): Promise<void> {
    const metadata = join(workDir, 'metadata.yaml');
    writeFileSync(metadata, 'architecture: x86_64\ncreation_date: 1\nproperties:\n  description: bench\n');
    await runTool('tar', ['-C', workDir, '-cf', `${metadata}.tar`, 'metadata.yaml']);
    await this.#do('storage', 'create', this.#mark, 'dir');
    await this.#do('image', 'import', `${metadata}.tar`, rootfs.tar, `--alias=${this.#mark}`);
    const init = 'raw.lxc=lxc.init.cmd = /bin/sleep 86400';
    await this.#do('init', this.#mark, this.#mark, `--storage=${this.#mark}`, `--config=${init}`);
  }

  async #do(...args: readonly string[]): Promise<void> {
    await execute('lxc', args);
  }
}
