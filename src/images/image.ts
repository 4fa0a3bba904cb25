/** An immutable root filesystem, as the rest of Alcove sees it. */
export interface Image {
  /** Its name: `sha256:<hex>`. Of a registry image or layout the manifest's digest; of a tar or directory the digest of its content. */
  digest: string;
  /** References that resolved to it, newest last, e.g. `debian:12`, `builtin`. */
  references: readonly string[];
  config: ImageConfig;
  /** Bytes of the squashfs on the host. */
  sizeBytes: number;
  createdAtMs: number;
  source: string;
  /** Absolute path of the read-only squashfs. */
  rootfsPath: string;
}

/** What an image says about how to run it (OCI image configuration). */
export interface ImageConfig {
  env: Readonly<Record<string, string>>;
  user?: string;
  workdir?: string;
  entrypoint?: readonly string[];
  command?: readonly string[];
}

/** Progress of something that takes more than a moment. */
export interface ImageProgress {
  step: string;
}

export interface ImageCallOptions {
  signal?: AbortSignal;
  onProgress?: (progress: ImageProgress) => void;
}

/**
 * Where an image comes from.
 * - `registry`: an OCI reference (`host:port/name:tag` or `@sha256:…`), pulled with skopeo. `tls: 'off'` for plain-HTTP loopback registries.
 * - `oci-layout`, `oci-archive`, `docker-archive`: a path, with `reference` when it holds several.
 * - `tar`: a root filesystem, optionally gzip, xz or zstd compressed.
 * - `directory`: a root filesystem, owners and modes as they are.
 */
export type ImageSource =
  | { kind: 'registry'; reference: string; tls?: 'verify' | 'off' }
  | { kind: 'oci-layout' | 'oci-archive' | 'docker-archive'; path: string; reference?: string }
  | { kind: 'tar' | 'directory'; path: string };

/** The images of one state directory. Errors: `ImageNotFound`, `ImageInvalid`, `ImageInUse`, `InvalidInput`, `ToolMissing`, `ToolFailed`, `StateUnusable`, `Cancelled`. */
export interface ImageStore {
  /** Brings an image in. One that is there already (same digest) only gains the reference. `name` is recorded as a reference besides. */
  add(source: ImageSource, options?: ImageCallOptions & { name?: string }): Promise<Image>;
  /** By digest, by unique digest prefix (≥ 8 hex digits), or by reference. `builtin` is made on first use. */
  resolve(reference: string, options?: ImageCallOptions): Promise<Image>;
  /** As {@link resolve}, but `undefined` for an unknown one, and makes nothing. */
  find(reference: string): Promise<Image | undefined>;
  /** Sorted by first reference, then digest. */
  list(): Promise<Image[]>;
  /** @param inUse digests that VMs and snapshots need */
  remove(reference: string, inUse: ReadonlySet<string>): Promise<void>;
  /** Removes files without rows and rows without files; says what it did. */
  mend(): Promise<string[]>;
}

/** Reference of the image that needs nothing: Debian's static busybox. */
export const builtinImage = 'builtin';
