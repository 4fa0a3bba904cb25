import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import type { QemuBackendOptions } from '../../src/backends/qemu/index.ts';
import { Database, openStateDir, type StateDir } from '../../src/store/index.ts';
import type { VmRuntime, VmRuntimeOptions } from '../../src/vm/index.ts';
import { cgroupsOf, processesOf } from './machine-fixture.ts';
import { openTestRuntime } from './open-test-runtime.ts';

/** A state directory with runtimes over real machines, one after the other. */
export interface RuntimeFixture {
  readonly stateDir: StateDir;
  /** A new runtime, as a restarted engine has; the one before must be closed, or dead. */
  open(backend?: Partial<QemuBackendOptions>, options?: Partial<VmRuntimeOptions>): Promise<VmRuntime>;
  /** Fails when there is a process, socket, control group, directory or file that nothing listed accounts for. */
  expectNothingUnlisted(runtime: VmRuntime): Promise<void>;
  /** After the last test: destroys every VM, fails as {@link expectNothingUnlisted} does, and closes both. `undefined`: none was opened. */
  finish(runtime: VmRuntime | undefined): Promise<void>;
  close(): void;
}

export async function openRuntimeFixture(
  root: string = mkdtempSync(join(tmpdir(), 'alcove-qemu-')),
): Promise<RuntimeFixture> {
  const stateDir = openStateDir({ root });
  const database = new Database(stateDir.databasePath);
  const fixture: RuntimeFixture = {
    stateDir,
    open: (backend = {}, options = {}) => openTestRuntime({ stateDir, database }, backend, options),
    async expectNothingUnlisted(runtime) {
      const vms = (await runtime.list()).filter(({ status }) => status !== 'destroyed');
      const active = vms.filter(({ status }) => status === 'running' || status === 'paused');
      expect(processesOf(root)).toHaveLength(active.length);
      expect(new Set(cgroupsOf(root)).size).toBeLessThanOrEqual(active.length);
      expect(readdirSync(stateDir.runtimeDir)).toHaveLength(active.length);
      expect(readdirSync(stateDir.vmsDir).sort()).toEqual(vms.map(({ id }) => id));
      for (const { id } of vms)
        expectVmFiles(
          join(stateDir.vmsDir, id),
          active.some((vm) => vm.id === id),
        );
      const snapshots = await runtime.snapshots.list();
      expect(readdirSync(stateDir.snapshotsDir)).toHaveLength(snapshots.length);
      for (const name of readdirSync(stateDir.snapshotsDir))
        expectSnapshotFiles(join(stateDir.snapshotsDir, name));
      expect(readdirSync(stateDir.templatesDir).filter((name) => name.startsWith('making_'))).toEqual([]);
      // The memory image of a VM that was just suspended is made beside the calls.
      await vi.waitFor(() => expect(readdirSync(stateDir.tmpDir)).toEqual([]), { timeout: 20_000 });
      expect(database.prepare('SELECT * FROM vm_journal').all()).toEqual([]);
    },
    async finish(runtime) {
      if (runtime) {
        for (const { id, status } of await runtime.list())
          if (status !== 'destroyed') await runtime.destroy(id);
        await fixture.expectNothingUnlisted(runtime);
        await runtime.close();
      }
      fixture.close();
    },
    close() {
      database.close();
      stateDir[Symbol.dispose]();
      rmSync(root, { recursive: true });
    },
  };
  return fixture;
}

/** What a VM's directory may hold is what its record tells. */
function expectVmFiles(dir: string, active: boolean): void {
  const { disk, memory } = JSON.parse(readFileSync(join(dir, 'vm.json'), 'utf8'));
  const allowed = [
    'console.log',
    'disk',
    'vm.json',
    ...(memory ? ['memory'] : []),
    ...(active ? ['machine'] : []),
  ];
  expect(allowed).toEqual(expect.arrayContaining(readdirSync(dir)));
  const fileOf = ({ file }: { file: string }) => file;
  expect(readdirSync(join(dir, 'disk')).sort()).toEqual(
    [...disk.layers.map(fileOf), `${disk.top}.qcow2`].sort(),
  );
  if (!memory) return;
  const kept = memory.device ? ['device.state'] : [];
  expect(readdirSync(join(dir, 'memory')).sort()).toEqual([...memory.layers.map(fileOf), ...kept].sort());
}

function expectSnapshotFiles(dir: string): void {
  const { files } = JSON.parse(readFileSync(join(dir, 'manifest.json'), 'utf8'));
  expect(readdirSync(dir).sort()).toEqual([...Object.keys(files), 'manifest.json'].sort());
}
