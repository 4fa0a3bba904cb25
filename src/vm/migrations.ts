/** Tables of module `vm`. Only ever appended to; see {@link Database.migrate}. */
export const vmMigrations: readonly string[] = [
  `
  CREATE TABLE vms (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('created', 'running', 'paused', 'stopped', 'destroyed')),
    reason TEXT,
    backend TEXT NOT NULL,
    image_digest TEXT NOT NULL,
    from_uid TEXT,
    line_uid TEXT,
    handle TEXT,
    spec TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX vms_by_status ON vms (status, changed_at_ms);
  CREATE INDEX vms_by_origin ON vms (from_uid) WHERE from_uid IS NOT NULL;

  CREATE TABLE snapshots (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    vm_id TEXT NOT NULL,
    id TEXT NOT NULL,
    lifetime TEXT NOT NULL CHECK (lifetime IN ('kept', 'ephemeral', 'lost')),
    parent_uid TEXT,
    needs_parent INTEGER NOT NULL,
    image_digest TEXT NOT NULL,
    manifest TEXT NOT NULL,
    spec TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (vm_id, id)
  ) STRICT;
  CREATE INDEX snapshots_by_parent ON snapshots (parent_uid) WHERE parent_uid IS NOT NULL;

  CREATE TABLE vm_journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    op TEXT NOT NULL,
    vm_id TEXT NOT NULL,
    snapshot_uid TEXT,
    backend TEXT,
    began_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX vm_journal_by_vm ON vm_journal (vm_id);
  `,
  `
  -- What was seen of each file when its bytes were known to be right, as JSON by name; NULL: not known yet.
  ALTER TABLE snapshots ADD COLUMN seals TEXT;
  -- Of the VM it was taken of: ids are used again, machine ids are not. NULL: of none that was here.
  ALTER TABLE snapshots ADD COLUMN machine_id TEXT;
  UPDATE snapshots SET machine_id = (
    SELECT json_extract(vms.spec, '$.machineId') FROM vms
    WHERE vms.id = snapshots.vm_id AND vms.created_at_ms <= snapshots.created_at_ms
  );
  `,
  `
  -- As JSON; NULL: none.
  ALTER TABLE snapshots ADD COLUMN labels TEXT;
  `,
];
