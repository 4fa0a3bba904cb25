import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Database } from '../store/index.ts';
import { vmMigrations } from './migrations.ts';

test('snapshots of an older Alcove are known by the VM they were taken of, unless another has its id by now', () => {
  const dir = mkdtempSync(join(tmpdir(), 'migrations-'));
  {
    using database = new Database(join(dir, 'alcove.db'));
    database.migrate('vm', vmMigrations.slice(0, 1));
    const vm = database.prepare(
      "INSERT INTO vms VALUES ('vm', 'stopped', NULL, 'qemu', 'sha256:0', NULL, NULL, NULL, ?, 1000, 1000)",
    );
    vm.run(JSON.stringify({ machineId: 'cafe' }));
    const snapshot = database.prepare(
      `INSERT INTO snapshots
         (uid, vm_id, id, lifetime, parent_uid, needs_parent, image_digest, manifest, spec, created_at_ms)
       VALUES (?, 'vm', ?, 'kept', NULL, 0, 'sha256:0', '{}', '{}', ?)`,
    );
    snapshot.run('u1', 'of-an-earlier-vm', 999);
    snapshot.run('u2', 'its-own', 1001);
    database.migrate('vm', vmMigrations);
    expect(database.prepare('SELECT id, machine_id, seals FROM snapshots ORDER BY seq').all()).toEqual([
      { id: 'of-an-earlier-vm', machine_id: null, seals: null },
      { id: 'its-own', machine_id: 'cafe', seals: null },
    ]);
  }
  rmSync(dir, { recursive: true });
});
