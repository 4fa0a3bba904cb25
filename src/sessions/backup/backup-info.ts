/** A backup as it is listed. */
export interface BackupInfo {
  /** `<session>-<YYYYmmddTHHMMSSZ>.tar.zst`; a second one of the same second has `-2` before the dot, and so on. */
  name: string;
  /** On the host. */
  path: string;
  sessionId: string;
  createdAtMs: number;
  /** Size of the file. */
  fileBytes: number;
  /** What was recorded when it was made; absent of an archive that was made by hand. */
  manifest?: BackupManifest;
}

/** What lies beside a backup, as `<name without .tar.zst>.json`. */
export interface BackupManifest {
  format: 1;
  sessionId: string;
  createdAtMs: number;
  /** Of the compressed file: `sha256:<hex>` and its size. */
  digest: string;
  fileBytes: number;
  /** Of the tar in it. */
  tarBytes: number;
  /** Apparent size of all files; less is in the tar of sparse ones. */
  contentBytes: number;
  entries: EntryCounts;
  workdir: string;
  image: { reference: string; digest: string };
  versions: { alcove: string; agent: string };
}

export interface EntryCounts {
  files: number;
  directories: number;
  symlinks: number;
  hardLinks: number;
  others: number;
}
