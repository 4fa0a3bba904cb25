import type { TreeEntry } from '../../guest/index.ts';

/**
 * Everything that decides what an action makes, by name:
 *
 * - `command`, `workdir`, `user`, `backend`, `architecture`, `snapshot` (`disk` or `disk+memory`)
 * - `image` (a digest) or `parent` (the key of the cached action it starts from, or the digest of a snapshot that a user took)
 * - `machine.cpus`, `machine.memoryMiB`, `machine.diskMiB`, `machine.network`
 * - `env.NAME` for every variable that the command sees
 * - `file.PATH` for each file of an `onChange` policy: its mode and digest
 * - `inject.PATH`, by path in the guest, for each folder that is injected: the digest of its tree, and how it is copied where that is
 *   not the usual way: `mirror`, the owner, that others come before it
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
  /** Of a mirror: digest of the rules that say what it keeps in the guest; those of files that are not in the tree themselves count too. */
  rules?: string;
}

export type { TreeEntry };

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
