import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { createQemuBackend, type QemuBackendOptions } from '../../src/backends/qemu/index.ts';
import { type GuestKernel, openImageStore, openKernelStore } from '../../src/images/index.ts';
import { Database, openStateDir, type StateDir } from '../../src/store/index.ts';
import type {
  BackendVm,
  CreateRequest,
  SnapshotManifest,
  SnapshotSource,
  VmBackend,
} from '../../src/vm/index.ts';

/** A state directory with a kernel and the built-in image in it, and backends over it. */
export interface MachineFixture {
  readonly stateDir: StateDir;
  readonly kernel: GuestKernel;
  /** A new backend, as a restarted engine has. */
  backend(options?: Partial<QemuBackendOptions>): VmBackend;
  request(id: string, shape?: Partial<CreateRequest['shape']>): CreateRequest;
  create(id: string, shape?: Partial<CreateRequest['shape']>): Promise<BackendVm>;
  snapshot(vm: BackendVm, name: string): Promise<SnapshotSource>;
  restore(id: string, snapshot: SnapshotSource): Promise<BackendVm>;
  /** Fails when a process, socket or control group of this state directory is left. */
  expectNothingLeft(): void;
  close(): void;
}

export async function openMachineFixture(): Promise<MachineFixture> {
  const root = mkdtempSync(join(tmpdir(), 'alcove-qemu-'));
  const stateDir = openStateDir({ root });
  const database = new Database(stateDir.databasePath);
  const [kernel, image] = await Promise.all([
    openKernelStore({ stateDir }).resolve(),
    openImageStore({ stateDir, database }).resolve('builtin'),
  ]);
  const backend = (options: Partial<QemuBackendOptions> = {}) =>
    createQemuBackend({ stateDir, accel: 'tcg', ...options });
  const first = backend();
  const fixture: MachineFixture = {
    stateDir,
    kernel,
    backend,
    request(id, shape = {}) {
      const dir = join(stateDir.vmsDir, id);
      mkdirSync(dir, { recursive: true });
      return {
        id,
        dir,
        shape: { cpus: 1, memoryMiB: 256, diskMiB: 1024, network: 'none', kernel, bootArgs: [], ...shape },
        image: { digest: image.digest, rootfsPath: image.rootfsPath },
      };
    },
    create: (id, shape) => first.create(fixture.request(id, shape)),
    async snapshot(vm, name) {
      const dir = join(stateDir.snapshotsDir, name);
      mkdirSync(dir);
      const manifest: SnapshotManifest = await vm.snapshot({ dir, memory: 'exclude' });
      return { dir, manifest, ancestors: [] };
    },
    restore: (id, snapshot) => first.restore({ ...fixture.request(id), snapshot, memory: 'include' }),
    expectNothingLeft() {
      expect(processesOf(root)).toEqual([]);
      expect(existsSync(stateDir.runtimeDir) ? readdirSync(stateDir.runtimeDir) : []).toEqual([]);
      expect(cgroupsOf(root)).toEqual([]);
    },
    close() {
      database.close();
      stateDir[Symbol.dispose]();
      rmSync(root, { recursive: true });
    },
  };
  return fixture;
}

/** Pid of a VM's QEMU. */
export function pidOf(vm: BackendVm): number {
  const { pid } = vm.handle;
  if (typeof pid !== 'number') throw new Error(`${vm.id} does not run`);
  return pid;
}

/** QEMU processes whose command line mentions a path: what they run. */
export function processesOf(path: string): string[] {
  return qemuPids(path).map(commandLineOf);
}

export function qemuPids(path: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      const line = commandLineOf(pid);
      return line.includes(path) && line.includes('qemu-system');
    });
}

function commandLineOf(pid: number): string {
  return readQuietly(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
}

/** Control groups of running processes' own that bear the name of a VM of this state directory. */
export function cgroupsOf(root: string): string[] {
  const own = readQuietly('/proc/self/cgroup').trim().split('\n');
  const places = own.flatMap((line) => {
    const [, controllers = '', path = ''] = line.split(':');
    return [join('/sys/fs/cgroup', controllers, path), join('/sys/fs/cgroup', path)];
  });
  const marker = `alcove-${digestOf(root)}`;
  return places.flatMap((dir) =>
    existsSync(dir) ? readdirSync(dir).filter((name) => name.startsWith(marker)) : [],
  );
}

function digestOf(root: string): string {
  return createHash('sha256').update(root).digest('hex').slice(0, 12);
}

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // It ended meanwhile.
  }
}
