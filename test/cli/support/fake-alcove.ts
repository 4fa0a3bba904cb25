import type { Alcove, CallOptions, OpenOptions, Vm } from '../../../src/engine/alcove.ts';
import { AlcoveError, cancelled } from '../../../src/errors.ts';
import type {
  ExecExit,
  ExecRequest,
  ExecResult,
  GuestFiles,
  GuestProcess,
} from '../../../src/guest/index.ts';
import type { Image } from '../../../src/images/index.ts';
import type {
  DiskUsage,
  GarbageReport,
  LineageNode,
  RunOptions,
  SnapshotInfo,
  SpareInfo,
  VmInfo,
} from '../../../src/vm/index.ts';

import { FakeExecutor } from './fake-executor.ts';
import { FakeSessions } from './fake-sessions.ts';

/** What a command in a fake guest does. It returns its exit code, or throws. */
export type Script = (command: FakeCommand) => Promise<number>;

export interface FakeCommand {
  request: ExecRequest;
  stdout(text: string | Uint8Array): Promise<void>;
  stderr(text: string): Promise<void>;
  /** Everything that comes on standard input, until its end. */
  stdin: AsyncIterable<Uint8Array>;
  /** Fires when the command is to be killed. */
  signal: AbortSignal;
  /** New sizes of its terminal. */
  sizes: { rows: number; columns: number }[];
}

const digest = `sha256:${'ab'.repeat(32)}`;

export const builtin: Image = {
  digest,
  references: ['builtin'],
  config: { env: { PATH: '/bin' }, command: ['/bin/sh'] },
  sizeBytes: 1_100_000,
  createdAtMs: 400_000,
  source: 'built in',
  rootfsPath: '/state/images/ab/rootfs.squashfs',
};

export function vmInfo(id: string, changes: Partial<VmInfo> = {}): VmInfo {
  return {
    id,
    status: 'running',
    backend: 'memory',
    image: { reference: 'builtin', digest },
    cpus: 1,
    memoryMiB: 256,
    diskMiB: 2048,
    network: 'none',
    env: {},
    labels: {},
    createdAtMs: 820_000,
    changedAtMs: 940_000,
    snapshots: [],
    ...changes,
  };
}

export function snapshotInfo(vmId: string, id: string): SnapshotInfo {
  return {
    id,
    vmId,
    ref: `${vmId}/${id}`,
    vm: 'here',
    kind: 'disk+memory',
    lifetime: 'until removed',
    labels: {},
    imageDigest: digest,
    sizeBytes: 23_068_672,
    ownBytes: 1_048_576,
    createdAtMs: 1_000_000,
  };
}

export function spareInfo(id: string, changes: Partial<SpareInfo> = {}): SpareInfo {
  return {
    id,
    kind: 'image',
    backend: 'memory',
    image: { reference: 'builtin', digest },
    cpus: 1,
    memoryMiB: 256,
    network: 'none',
    filledBy: 'hand',
    createdAtMs: 820_000,
    ...changes,
  };
}

const unused = (): never => {
  throw new Error('the CLI should not need this');
};

/** An engine that keeps a log of its calls and does what a test says. */
export class FakeAlcove {
  readonly calls: unknown[][] = [];
  readonly opened: OpenOptions[] = [];
  mended: string[] = [];
  closed = 0;
  vms: VmInfo[] = [];
  snapshots: SnapshotInfo[] = [];
  images: Image[] = [builtin];
  tree: LineageNode[] = [];
  usage: DiskUsage | undefined;
  garbage: GarbageReport = { removed: [], kept: [], freedBytes: 0 };
  /** What an export gives, piece by piece; an error is thrown in its place. */
  archive: (string | Error)[] = ['an ', 'archive'];
  spares: SpareInfo[] = [];
  script: Script = async () => 0;
  /** Called with the name of each call, before it does anything; a test throws here. */
  before: (call: string, ...args: unknown[]) => void | Promise<void> = () => undefined;
  readonly executor = new FakeExecutor((call, ...args) => this.#log(call, ...args));
  readonly sessions = new FakeSessions({
    log: (call, ...args) => this.#log(call, ...args),
    exec: (command) => this.#exec(command),
    spawn: (request, signal) => this.#spawn(request, signal),
    vm: (id) => this.#vm(id),
  });
  files: Partial<GuestFiles> = {};
  /** Files in the guest, for `stat`. */
  paths: string[] = [];

  readonly open = async (options: OpenOptions): Promise<Alcove> => {
    this.opened.push(options);
    await this.before('open', options);
    return this.#alcove();
  };

  async #log(call: string, ...args: unknown[]): Promise<void> {
    this.calls.push([call, ...args]);
    await this.before(call, ...args);
  }

  #alcove(): Alcove {
    return {
      ...this.executor.calls(),
      sessions: this.sessions.calls(),
      stateDir: '/state',
      mended: this.mended,
      create: async (spec, options) => {
        options?.onProgress?.('making the disk');
        await this.#log('create', spec);
        const id = spec.id ?? 'made-up';
        this.vms.push(vmInfo(id, { status: 'created' }));
        return this.#vm(id);
      },
      restore: async (ref, spec = {}) => {
        await this.#log('restore', ref, spec);
        this.vms.push(vmInfo(spec.id ?? 'restored', { from: ref, status: 'stopped' }));
        return this.#vm(spec.id ?? 'restored');
      },
      vm: async (id) => {
        if (!this.vms.some((vm) => vm.id === id)) throw new AlcoveError('VmNotFound', `there is no VM ${id}`);
        return this.#vm(id);
      },
      get: async (id) => this.vms.find((vm) => vm.id === id),
      list: async (options) => {
        await this.#log('list', options);
        return this.vms;
      },
      run: async (spec, command, options) => {
        options?.onProgress?.('booting');
        const { signal, onStdout, onStderr, input, ...request } = command;
        await this.#log('run', spec, request);
        const vm = this.#vm('run-1');
        try {
          await options?.around?.before?.(vm);
          const result = await this.#exec(command);
          await options?.around?.after?.(vm);
          return result;
        } finally {
          this.calls.push(['destroyed']);
        }
      },
      snapshots: {
        list: async (options) => {
          await this.#log('snapshots.list', options);
          return this.snapshots;
        },
        get: async (ref) => this.snapshots.find((snapshot) => snapshot.ref === ref),
        tree: async (options) => {
          await this.#log('snapshots.tree', options);
          return this.tree;
        },
        remove: (ref) => this.#log('snapshots.remove', ref),
        verify: async (ref, options) => {
          options?.onProgress?.(`checking ${ref}`);
          await this.#log('snapshots.verify', ref);
          const [vmId = '', id = ''] = ref.split('/');
          return snapshotInfo(vmId, id);
        },
        export: (ref, options) => this.#export(ref, options),
        import: async (archive, options = {}) => {
          options.onProgress?.('importing');
          const chunks: Uint8Array[] = [];
          for await (const chunk of archive) chunks.push(chunk);
          await this.#log('snapshots.import', Buffer.concat(chunks).toString(), options.as);
          const [vmId = '', id = ''] = (options.as ?? 'web/before').split('/');
          return snapshotInfo(vmId, id);
        },
      },
      warm: {
        fill: async (spec, options) => {
          options?.onProgress?.('booting');
          await this.#log('warm.fill', spec);
          return this.spares;
        },
        list: async () => this.spares,
        drop: (ids) => this.#log('warm.drop', ids),
        stats: unused,
        settled: unused,
      },
      images: {
        add: async (source, options) => {
          options?.onProgress?.({ step: 'unpacking' });
          await this.#log('images.add', source, options?.name);
          return builtin;
        },
        resolve: async (reference) => {
          await this.#log('images.resolve', reference);
          const image = this.images.find(({ references }) => references.includes(reference));
          if (!image) throw new AlcoveError('ImageNotFound', `there is no image ${reference}`);
          return image;
        },
        find: async (reference) => this.images.find(({ references }) => references.includes(reference)),
        list: async () => this.images,
        remove: (reference) => this.#log('images.remove', reference),
      },
      diskUsage: async () => {
        await this.#log('diskUsage');
        if (!this.usage) throw new Error('no disk usage is set');
        return this.usage;
      },
      collectGarbage: async ({ signal, onProgress, ...options } = {}) => {
        await this.#log('collectGarbage', options);
        return this.garbage;
      },
      [Symbol.asyncDispose]: async () => {
        this.closed++;
      },
    };
  }

  async *#export(ref: string, options?: CallOptions): AsyncGenerator<Uint8Array> {
    options?.onProgress?.(`exporting ${ref}`);
    await this.#log('snapshots.export', ref);
    for (const piece of this.archive) {
      if (piece instanceof Error) throw piece;
      yield Buffer.from(piece);
      if (options?.signal?.aborted) throw cancelled('exporting', options.signal);
    }
  }

  #vm(id: string): Vm {
    const info = () => this.vms.find((vm) => vm.id === id) ?? vmInfo(id);
    const become = (call: string, status: VmInfo['status'], ...args: unknown[]) =>
      this.#log(call, id, ...args).then(() => {
        this.vms = this.vms.map((vm) => (vm.id === id ? { ...vm, status } : vm));
      });
    return {
      id,
      info: async () => info(),
      start: () => become('start', 'running'),
      stop: ({ memory, graceMs } = {}) => become('stop', 'stopped', { memory, graceMs }),
      pause: () => become('pause', 'paused'),
      resume: () => become('resume', 'running'),
      snapshot: async (options) => {
        await this.#log('snapshot', id, options?.id);
        return snapshotInfo(id, options?.id ?? 'snap-1');
      },
      fork: async (count, { ids, start } = {}) => {
        await this.#log('fork', id, count, { ids, start });
        return Array.from({ length: count }, (_, i) => {
          const forkId = ids?.[i] ?? `${id}-${i + 1}`;
          if (forkId === 'full') {
            const details = { limit: 'vms', max: 1, asked: 1, taken: 1 };
            return {
              id: forkId,
              error: new AlcoveError('AtCapacity', 'no room for another VM', { details }),
            };
          }
          return { id: forkId, vm: vmInfo(forkId) };
        });
      },
      destroy: () => become('destroy', 'destroyed'),
      exec: async (command) => {
        const { signal, onStdout, onStderr, input, ...request } = command;
        await this.#log('exec', id, request);
        return this.#exec(command);
      },
      spawn: async (request, options) => {
        await this.#log('spawn', id, request);
        return this.#spawn(request, options?.signal ?? new AbortController().signal);
      },
      attach: unused,
      detached: unused,
      files: {
        stat: async (path: string) => {
          if (this.paths.includes(path)) return { path, kind: 'file' };
          throw new AlcoveError('GuestFile', `${path} is not there`, { details: { path, errno: 'ENOENT' } });
        },
        ...this.files,
      } as GuestFiles,
      dial: unused,
      ping: unused,
      usage: unused,
      console: async () => '[    0.000000] Linux version\nagent ready\n',
      exited: unused,
      [Symbol.asyncDispose]: () => become('destroy', 'destroyed'),
    };
  }

  async #exec(command: RunOptions): Promise<ExecResult> {
    const signal = command.signal ?? new AbortController().signal;
    const exitCode = await this.#play({
      request: command,
      stdout: async (text) => command.onStdout?.(Buffer.from(text)),
      stderr: async (text) => command.onStderr?.(Buffer.from(text)),
      stdin: command.input as AsyncIterable<Uint8Array>,
      signal,
      sizes: [],
    });
    return { exitCode, stdout: '', stderr: '', truncated: false, droppedBytes: 0, durationMs: 1 };
  }

  #spawn(request: ExecRequest, signal: AbortSignal): GuestProcess {
    const [stdout, stderr, stdin] = [new Pipe(), new Pipe(), new Pipe()];
    const sizes: FakeCommand['sizes'] = [];
    const exited = this.#play({
      request,
      stdout: (text) => stdout.write(Buffer.from(text)),
      stderr: (text) => stderr.write(Buffer.from(text)),
      stdin,
      signal,
      sizes,
    })
      .then((exitCode): ExecExit => {
        const timedOut = exitCode === 124 && request.timeoutMs !== undefined;
        return { exitCode, timedOut, durationMs: 5, droppedBytes: 0 };
      })
      .finally(() => Promise.all([stdout.end(), stderr.end()]));
    exited.catch(() => undefined);
    return {
      pid: 7,
      stdout,
      stderr,
      stdin,
      kill: async (name) => void this.calls.push(['kill', name]),
      resize: async (size) => void sizes.push(size),
      exited,
      [Symbol.asyncDispose]: async () => void this.calls.push(['process disposed']),
    };
  }

  /** Runs the script; when the command is cancelled it has ended, whatever it does. */
  #play(command: FakeCommand): Promise<number> {
    const { signal } = command;
    const killed = new Promise<never>((_, reject) => {
      const kill = () => {
        this.calls.push([command.request.detachedId === undefined ? 'killed' : 'let go']);
        reject(cancelled('the command', signal));
      };
      if (signal.aborted) kill();
      signal.addEventListener('abort', kill, { once: true });
    });
    return Promise.race([this.script(command), killed]);
  }
}

/** Bytes from a writer to one reader, one chunk at a time. */
class Pipe implements AsyncIterable<Uint8Array> {
  readonly #chunks: Uint8Array[] = [];
  #ended = false;
  #wake: () => void = () => undefined;

  async write(chunk: Uint8Array): Promise<void> {
    this.#chunks.push(chunk);
    this.#wake();
  }

  async end(): Promise<void> {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk) yield chunk;
      else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}
