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

/** An image that was made elsewhere, brought in whole. */
export interface ReadyImage {
  /** Of the squashfs. */
  digest: string;
  config: ImageConfig;
  /** For people: where it came from. */
  source: string;
}

/** A root filesystem that is in its place and not listed yet. */
export interface PlacedImage {
  /** Lists it; meant for a transaction with whatever needs it. */
  record(): void;
  /** Takes the file away again, unless it is listed. */
  discard(): Promise<void>;
}

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
  /**
   * Moves a squashfs that was made elsewhere, synced, to its place. Its digest is that of the file: what an image was called where it
   * was made cannot be told from a squashfs, and is not believed. Of one that is here already nothing changes, and the file
   * is removed.
   */
  place(image: ReadyImage, squashfsPath: string): Promise<PlacedImage>;
  /** @param inUse digests that VMs and snapshots need */
  remove(reference: string, inUse: ReadonlySet<string>): Promise<void>;
  /** Removes files without rows and rows without files; says what it did. */
  mend(): Promise<string[]>;
}

/** Reference of the image that needs nothing: Debian's static busybox. */
export const builtinImage = 'builtin';
