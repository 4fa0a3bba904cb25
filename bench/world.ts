/** What the cases share: a state directory, a root filesystem, and the peers, each connected when it is first asked for. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Alcove, type OpenOptions, openAlcove } from '../src/index.ts';
import { Docker } from './peers/docker.ts';
import { writeHandWrittenFiles } from './peers/hand-written.ts';
import { Lxd } from './peers/lxd.ts';
import { crun, OciRuntime, type RuntimeSpec, runsc } from './peers/oci-runtime.ts';
import { packRootfs, type Rootfs } from './programs/rootfs.ts';

/** Of every VM. */
export const memoryMiB = 256;
/** A static program that only exits. */
export const noOp = ['/bin/no-op'] as const;
/** The same as a command of a VM. */
export const firstCommand = { command: noOp, nonZeroExit: 'error' } as const;
/** The name of the root filesystem as an image. */
export const image = 'bench';

export class World implements AsyncDisposable {
  readonly workDir: string;
  readonly stateDir: string;
  readonly rootfs: Rootfs;
  /** Versions of the peers that are there. */
  readonly peers: Record<string, string> = {};
  /** Why others are not there, by peer. */
  readonly missing: Record<string, string> = {};
  readonly docker = once(() => this.#connect('docker', () => Docker.connect(this.rootfs)));
  readonly lxd = once(() => this.#connect('lxd', () => Lxd.connect(this.rootfs, this.workDir)));
  readonly crun = once(() => this.#runtime(crun));
  readonly runsc = once(() => this.#runtime(runsc));
  readonly handWritten = once(() => writeHandWrittenFiles(this.stateDir, this.rootfs, this.workDir));
  readonly #owned = new AsyncDisposableStack();

  private constructor(workDir: string, rootfs: Rootfs) {
    this.workDir = workDir;
    this.stateDir = join(workDir, 'state');
    this.rootfs = rootfs;
  }

  static async open(): Promise<World> {
    // Of a hundred forks, each counts in full, as if they shared nothing.
    process.env.ALCOVE_MEMORY_MIB ??= `${128 * memoryMiB}`;
    process.env.ALCOVE_DISK_MIB ??= `${2 ** 20}`;
    const workDir = mkdtempSync(join(tmpdir(), 'alcove-bench-'));
    try {
      const world = new World(workDir, await packRootfs(workDir));
      await using alcove = await world.engine();
      await alcove.images.add({ kind: 'tar', path: world.rootfs.tar }, { name: image });
      // Whatever is made once for all machines is made now: the kernel, a blank disk, a template.
      await using vm = await alcove.create({ image, memoryMiB });
      await vm.start();
      return world;
    } catch (error) {
      rmSync(workDir, { recursive: true, force: true });
      throw error;
    }
  }

  /** An engine over the state directory; there is one at a time. */
  engine(options: OpenOptions = {}): Promise<Alcove> {
    return openAlcove({ ...options, stateDir: this.stateDir });
  }

  /** Notes that something is not measured. */
  skip(what: string, why: string): void {
    this.missing[what] = why;
  }

  /** Destroys what a case left, so that the next one begins as the first did. */
  async sweep(): Promise<void> {
    await using alcove = await this.engine();
    await alcove.warm.drop();
    for (const { id } of await alcove.sessions.list()) await alcove.sessions.terminate(id);
    for (const { id } of await alcove.list({ destroyed: 'leave-out' })) await (await alcove.vm(id)).destroy();
    for (const { ref } of (await alcove.snapshots.list()).reverse()) await alcove.snapshots.remove(ref);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#owned.defer(() => this.sweep());
    try {
      await this.#owned.disposeAsync();
    } finally {
      rmSync(this.workDir, { recursive: true, force: true });
    }
  }

  #runtime(spec: RuntimeSpec): Promise<OciRuntime | undefined> {
    return this.#connect(spec.program, () => OciRuntime.connect(spec, this.rootfs, this.workDir));
  }

  /** A peer that is not there is no failure: the rows go without it. */
  async #connect<T extends { version: string }>(
    name: string,
    connect: () => Promise<T>,
  ): Promise<T | undefined> {
    try {
      const peer = await connect();
      this.peers[name] = peer.version;
      this.#owned.defer(async () => {
        if (isDisposable(peer)) await peer[Symbol.asyncDispose]();
      });
      return peer;
    } catch (error) {
      this.skip(name, error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }
}

function isDisposable(peer: object): peer is AsyncDisposable {
  return Symbol.asyncDispose in peer;
}

/** Makes something when it is first asked for. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
