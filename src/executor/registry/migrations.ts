/**
 * Tables of module `cache`. Only ever appended to; see {@link Database.migrate}.
 *
 * What a hit changes is a small row of its own, `cache_usage`, so that a hit writes three pages whatever else is known of the entry. Numbers
 * that would take a scan to find are kept by triggers: how many entries there are and what they take, and of each entry how many have its
 * snapshot for their parent.
 */
export const cacheMigrations: readonly string[] = [
  `
  CREATE TABLE cache_entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    snapshot TEXT NOT NULL UNIQUE,
    parent TEXT CHECK (parent <> snapshot),
    name TEXT,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    created_at_ms INTEGER NOT NULL,
    duration_ms REAL NOT NULL
  ) STRICT;
  CREATE INDEX cache_entries_by_parent ON cache_entries (parent) WHERE parent IS NOT NULL;

  -- seq: of its last use; a greater one was later.
  CREATE TABLE cache_usage (
    id INTEGER PRIMARY KEY REFERENCES cache_entries (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    last_used_at_ms INTEGER NOT NULL,
    hits INTEGER NOT NULL,
    children INTEGER NOT NULL CHECK (children >= 0)
  ) STRICT;
  CREATE INDEX cache_usage_of_leaves ON cache_usage (seq) WHERE children = 0;
  CREATE INDEX cache_usage_of_parents ON cache_usage (seq) WHERE children > 0;

  CREATE TABLE cache_outputs (
    id INTEGER PRIMARY KEY REFERENCES cache_entries (id) ON DELETE CASCADE,
    output BLOB NOT NULL
  ) STRICT;

  -- command, source: digests of these inputs. trees: the entries of the trees in their order, as JSON, zstd.
  CREATE TABLE cache_inputs (
    id INTEGER PRIMARY KEY REFERENCES cache_entries (id) ON DELETE CASCADE,
    name TEXT,
    command BLOB,
    source BLOB,
    summary TEXT NOT NULL,
    trees BLOB
  ) STRICT;
  CREATE INDEX cache_inputs_by_name ON cache_inputs (name) WHERE name IS NOT NULL;
  CREATE INDEX cache_inputs_by_command ON cache_inputs (command) WHERE command IS NOT NULL;
  CREATE INDEX cache_inputs_by_source ON cache_inputs (source) WHERE source IS NOT NULL;

  CREATE TABLE cache_history (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    detail TEXT
  ) STRICT;

  -- One row.
  CREATE TABLE cache_totals (
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    parents INTEGER NOT NULL,
    histories INTEGER NOT NULL
  ) STRICT;
  INSERT INTO cache_totals VALUES (0, 0, 0, 0);

  CREATE TRIGGER cache_entry_added AFTER INSERT ON cache_entries BEGIN
    UPDATE cache_totals SET entries = entries + 1, bytes = bytes + NEW.size_bytes;
    UPDATE cache_usage SET children = children + 1
      WHERE id = (SELECT id FROM cache_entries WHERE snapshot = NEW.parent);
  END;
  CREATE TRIGGER cache_entry_removed AFTER DELETE ON cache_entries BEGIN
    UPDATE cache_totals SET entries = entries - 1, bytes = bytes - OLD.size_bytes;
    UPDATE cache_usage SET children = children - 1
      WHERE id = (SELECT id FROM cache_entries WHERE snapshot = OLD.parent);
  END;
  CREATE TRIGGER cache_parent_added AFTER INSERT ON cache_usage WHEN NEW.children > 0 BEGIN
    UPDATE cache_totals SET parents = parents + 1;
  END;
  CREATE TRIGGER cache_parent_removed AFTER DELETE ON cache_usage WHEN OLD.children > 0 BEGIN
    UPDATE cache_totals SET parents = parents - 1;
  END;
  CREATE TRIGGER cache_parent_changed AFTER UPDATE OF children ON cache_usage
    WHEN (NEW.children > 0) <> (OLD.children > 0) BEGIN
    UPDATE cache_totals SET parents = parents + (NEW.children > 0) - (OLD.children > 0);
  END;
  CREATE TRIGGER cache_history_added AFTER INSERT ON cache_history BEGIN
    UPDATE cache_totals SET histories = histories + 1;
  END;
  CREATE TRIGGER cache_history_removed AFTER DELETE ON cache_history BEGIN
    UPDATE cache_totals SET histories = histories - 1;
  END;
  `,
];
