/** The Docker engine as a peer, where one can be reached. Uses the `docker` client, as its users do. */
import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { ownDiskMiB, parentOf, privateMemoryMiB } from '../footprint.ts';
import type { Rootfs } from '../programs/rootfs.ts';

const execute = promisify(execFile);

export class Docker implements AsyncDisposable {
  readonly version: string;
  /** An image of the root filesystem. */
  readonly image: string;
  /** All images and containers of this run bear it. */
  readonly #mark: string;

  private constructor(version: string, mark: string) {
    this.version = version;
    this.#mark = mark;
    this.image = `${mark}:base`;
  }

  /** @throws when there is no client, or no engine behind it */
  static async connect(rootfs: Rootfs): Promise<Docker> {
    const { stdout } = await execute('docker', ['version', '--format', '{{.Server.Version}}']);
    const docker = new Docker(stdout.trim(), `alcove-bench-${process.pid}`);
    await docker.import(rootfs.tar, 'base');
    return docker;
  }

  /** `docker import` of a root filesystem; resolves with the image's name. What is built from it inherits its label. */
  async import(tar: string, tag: string): Promise<string> {
    await this.do('import', `--change=LABEL ${this.#mark}=`, tar, `${this.#mark}:${tag}`);
    return `${this.#mark}:${tag}`;
  }

  /** `docker run --rm` of a command, to its end. */
  async run(command: readonly string[], image = this.image): Promise<void> {
    await this.do('run', '--rm', '--network=none', image, ...command);
  }

  /** `docker run --detach` of a container that stays up; resolves with its id. @param options with `--init`, it obeys `docker stop` at once */
  async start(...options: readonly '--init'[]): Promise<string> {
    const all = ['--detach', '--network=none', `--label=${this.#mark}`, ...options];
    return this.do('run', ...all, this.image, '/bin/sleep', '86400');
  }

  async exec(container: string, command: readonly string[]): Promise<void> {
    await this.do('exec', container, ...command);
  }

  /** The same, to read from while it runs. */
  stream(container: string, command: readonly string[]): ChildProcessByStdio<null, Readable, null> {
    return spawn('docker', ['exec', container, ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
  }

  /** `docker commit`, which pauses the container for it. */
  async commit(container: string, tag: string): Promise<string> {
    await this.do('commit', container, `${this.#mark}:${tag}`);
    return `${this.#mark}:${tag}`;
  }

  /**
   * `docker build` of a folder by the classic builder, with no network; resolves with what it printed.
   *
   * @param dockerfile its path; may lie elsewhere
   * @param cache `ignore` runs every step
   */
  async build(
    folder: string,
    dockerfile: string,
    tag: string,
    cache: 'use' | 'ignore' = 'use',
  ): Promise<string> {
    const all = ['--network=none', '--force-rm', `--file=${dockerfile}`, `--tag=${this.#mark}:${tag}`];
    const { stdout } = await execute(
      'docker',
      ['build', ...all, ...(cache === 'ignore' ? ['--no-cache'] : []), folder],
      {
        env: { ...process.env, DOCKER_BUILDKIT: '0' },
      },
    );
    return stdout;
  }

  async removeContainers(...containers: readonly string[]): Promise<void> {
    await this.do('rm', '--force', ...containers);
  }

  async removeImage(image: string): Promise<void> {
    await this.do('rmi', '--force', image);
  }

  /** What a container takes for itself: memory of its process and of the shim that looks after it, disk of what it wrote and of the engine's files for it. */
  async footprint(container: string): Promise<{ memoryMiB: number; diskMiB: number }> {
    const format = '{{.State.Pid}} {{.GraphDriver.Data.UpperDir}} {{.LogPath}}';
    const told = await this.do('inspect', `--format=${format}`, container);
    const [pid, layer = '', log = ''] = told.split(' ');
    return {
      memoryMiB: privateMemoryMiB(Number(pid)) + privateMemoryMiB(parentOf(Number(pid))),
      diskMiB: ownDiskMiB(layer) + ownDiskMiB(dirname(log)),
    };
  }

  /** Any other call of the client; resolves with what it printed. */
  async do(...args: readonly string[]): Promise<string> {
    const { stdout } = await execute('docker', args);
    return stdout.trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const containers = await this.do('ps', '--all', '--quiet', `--filter=label=${this.#mark}`);
    if (containers) await this.removeContainers(...containers.split('\n'));
    const images = await this.do('images', '--format={{.Repository}}:{{.Tag}}', this.#mark);
    if (images) await this.do('rmi', '--force', ...images.split('\n'));
    // What builds left without a name.
    await this.do('image', 'prune', '--force', `--filter=label=${this.#mark}`);
  }
}
