import type { Database } from '../store/index.ts';
import type { ImageConfig } from './image.ts';

/** An image's row: all of it but where its file lies. */
export interface ImageRecord {
  digest: string;
  config: ImageConfig;
  sizeBytes: number;
  createdAtMs: number;
  source: string;
  references: readonly string[];
}

const migrations = [
  `CREATE TABLE images (
     digest TEXT PRIMARY KEY,
     config TEXT NOT NULL,
     size_bytes INTEGER NOT NULL,
     created_at_ms INTEGER NOT NULL,
     source TEXT NOT NULL
   ) STRICT;
   CREATE TABLE image_references (
     position INTEGER PRIMARY KEY AUTOINCREMENT,
     reference TEXT NOT NULL UNIQUE,
     digest TEXT NOT NULL REFERENCES images (digest) ON DELETE CASCADE
   ) STRICT;
   CREATE INDEX image_references_by_digest ON image_references (digest);`,
];

type Row = Record<string, unknown>;

/** The images that are whole, and which reference means which. A reference means one image: the last it resolved to. */
export class ImageTable {
  readonly #database: Database;
  readonly #insert;
  readonly #byDigest;
  readonly #byPrefix;
  readonly #byReference;
  readonly #all;
  readonly #referencesOf;
  readonly #point;
  readonly #unpoint;
  readonly #delete;

  constructor(database: Database) {
    database.migrate('images', migrations);
    this.#database = database;
    this.#insert = database.prepare(
      'INSERT INTO images (digest, config, size_bytes, created_at_ms, source) VALUES (?, ?, ?, ?, ?)',
    );
    this.#byDigest = database.prepare('SELECT * FROM images WHERE digest = ?');
    this.#byPrefix = database.prepare('SELECT * FROM images WHERE substr(digest, 1, ?) = ? LIMIT 2');
    this.#byReference = database.prepare(
      'SELECT images.* FROM images JOIN image_references USING (digest) WHERE reference = ?',
    );
    this.#all = database.prepare('SELECT * FROM images');
    this.#referencesOf = database.prepare(
      'SELECT reference FROM image_references WHERE digest = ? ORDER BY position',
    );
    this.#unpoint = database.prepare('DELETE FROM image_references WHERE reference = ? AND digest <> ?');
    this.#point = database.prepare(
      'INSERT INTO image_references (reference, digest) VALUES (?, ?) ON CONFLICT (reference) DO NOTHING',
    );
    this.#delete = database.prepare('DELETE FROM images WHERE digest = ?');
  }

  /** Adds an image, unless it is there. */
  insert(image: Omit<ImageRecord, 'references'>): void {
    this.#database.transact(() => {
      if (this.get(image.digest)) return;
      const { digest, config, sizeBytes, createdAtMs, source } = image;
      this.#insert.run(digest, JSON.stringify(config), sizeBytes, createdAtMs, source);
    });
  }

  /** Makes a reference mean this image. */
  point(reference: string, digest: string): void {
    this.#database.transact(() => {
      this.#unpoint.run(reference, digest);
      this.#point.run(reference, digest);
    });
  }

  get(digest: string): ImageRecord | undefined {
    return this.#read(this.#byDigest.get(digest));
  }

  byReference(reference: string): ImageRecord | undefined {
    return this.#read(this.#byReference.get(reference));
  }

  /** Those whose digest starts so, two at most: more than one is as good as many. */
  byPrefix(prefix: string): ImageRecord[] {
    return this.#byPrefix.all(prefix.length, prefix).flatMap((row) => this.#read(row) ?? []);
  }

  all(): ImageRecord[] {
    return this.#all.all().flatMap((row) => this.#read(row) ?? []);
  }

  /** Removes an image and its references. */
  delete(digest: string): void {
    this.#database.transact(() => this.#delete.run(digest));
  }

  #read(row: Row | undefined): ImageRecord | undefined {
    if (!row) return undefined;
    const digest = String(row.digest);
    return {
      digest,
      config: JSON.parse(String(row.config)) as ImageConfig,
      sizeBytes: Number(row.size_bytes),
      createdAtMs: Number(row.created_at_ms),
      source: String(row.source),
      references: this.#referencesOf.all(digest).map(({ reference }) => String(reference)),
    };
  }
}
