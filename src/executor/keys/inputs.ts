/**
 * Everything that decides what an action makes, by name:
 *
 * - `command`, `workdir`, `user`, `backend`, `architecture`, `snapshot` (`disk` or `disk+memory`)
 * - `image` (a digest) or `parent` (the key of the cached action it starts from, or the digest of a snapshot that a user took)
 * - `machine.cpus`, `machine.memoryMiB`, `machine.diskMiB`, `machine.network`
 * - `env.NAME` for every variable that the command sees
 * - `file.PATH` for each file of an `onChange` policy: its mode and digest
 * - `inject.PATH`, by path in the guest, for each folder that is injected: the digest of its tree, and `mirror` where it is one
 */
export interface Inputs {
  readonly values: Readonly<Record<string, InputValue>>;
  /** What the `inject.PATH` values stand for. */
  readonly trees: readonly InjectedTree[];
}

/** `secret` ones take part in the key, and are stored as a digest. */
export interface InputValue {
  text: string;
  secret?: true;
}

export interface InjectedTree {
  /** In the guest. */
  to: string;
  /** `sha256:<hex>` over all entries in their order. */
  digest: string;
  /** In the order of the archive. */
  entries: readonly TreeEntry[];
}

/** What counts of a file that is injected. Times, owners and the host's path do not. */
export interface TreeEntry {
  /** Relative to the folder. */
  path: string;
  kind: 'file' | 'directory' | 'symlink' | 'fifo' | 'device';
  /** Permission bits with setuid, setgid and sticky. */
  mode: number;
  /** Of a file's bytes, as hex. */
  sha256?: string;
  sizeBytes?: number;
  /** Of a symlink. */
  target?: string;
}

/** As the registry keeps them: without secrets. */
export interface StoredInputs {
  /** Text as it was, or a keyed digest. */
  values: Readonly<Record<string, { text: string } | { digest: string }>>;
  trees: readonly InjectedTree[];
}

/** What is different now from an earlier run. */
export interface InputChange {
  /** As in {@link Inputs}; of a file in an injected folder its path in the guest, as `inject./src/main.c`. */
  input: string;
  change: 'changed' | 'added' | 'removed';
  /** For people; absent for what is not shown. */
  before?: string;
  after?: string;
  secret?: true;
}
