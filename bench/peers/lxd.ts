/** LXD as a peer, where a server can be reached (`LXD_DIR` says which). Uses the `lxc` client, as its users do. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTool } from '../../src/host/index.ts';
import type { Rootfs } from '../programs/rootfs.ts';

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
    const { stdout } = await lxc('version');
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
    await lxc('copy', this.#mark, copy);
    await lxc('start', copy);
    return copy;
  }

  async exec(container: string, command: readonly string[]): Promise<void> {
    await lxc('exec', container, '--', ...command);
  }

  async remove(container: string): Promise<void> {
    await lxc('delete', '--force', container);
    this.#copies.delete(container);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = () => undefined; // Of a preparation that failed, not everything is there.
    for (const copy of this.#copies) await this.remove(copy).catch(gone);
    await lxc('delete', '--force', this.#mark).catch(gone);
    await lxc('image', 'delete', this.#mark).catch(gone);
    await lxc('storage', 'delete', this.#mark).catch(gone);
  }

  async #prepare(rootfs: Rootfs, workDir: string): Promise<void> {
    const metadata = join(workDir, 'metadata.yaml');
    writeFileSync(metadata, 'architecture: x86_64\ncreation_date: 1\nproperties:\n  description: bench\n');
    await runTool('tar', ['-C', workDir, '-cf', `${metadata}.tar`, 'metadata.yaml']);
    await lxc('storage', 'create', this.#mark, 'dir');
    await lxc('image', 'import', `${metadata}.tar`, rootfs.tar, `--alias=${this.#mark}`);
    const init = 'raw.lxc=lxc.init.cmd = /bin/sleep 86400';
    await lxc('init', this.#mark, this.#mark, `--storage=${this.#mark}`, `--config=${init}`);
  }
}

/** Without standard input, from which it would wait for a configuration. */
function lxc(...args: readonly string[]): Promise<{ stdout: string }> {
  return runTool('lxc', args, { env: process.env });
}
