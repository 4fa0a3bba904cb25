import type { Command } from '../guest/index.ts';
import type { SnapshotRef, VmSpec } from '../vm/index.ts';

/** A command with all that decides what it makes: where it starts from, what it sees, what it may use. */
export interface Action {
  source: ActionSource;
  /** A program and its arguments, or one line for `/bin/sh -c`. */
  command: Command;
  /** Over the environment of the image, or of the machine that the snapshot was taken of. */
  env?: Readonly<Record<string, string>>;
  /** As `env`. Their values are inputs, and are neither stored nor shown. */
  secrets?: Readonly<Record<string, string>>;
  /** Absolute. @default as the image says */
  workdir?: string;
  /** `name`, `uid`, `name:group` or `uid:gid`. @default as the image says */
  user?: string;
  /** Time for the command, in ms. @default none */
  timeoutMs?: number;
  /** Host folders to copy into the guest before the command runs. */
  inject?: Injection | readonly Injection[];
  /** Of the machine. Only with an image: a snapshot brings its own. */
  limits?: ActionLimits;
  /** Keeps memory too: processes that the command leaves behind go on in what starts from its snapshot. @default disk only, and they are ended */
  memory?: true;
  /** Output kept for the result and for replays, both streams together: its beginning and its end. @default 1 MiB */
  maxOutputBytes?: number;
  /** What it is called, for people; `explain` compares with earlier runs of that name first. */
  name?: string;
}

export type ActionSource = { image: string } | { snapshot: SnapshotRef };

export type ActionLimits = Pick<VmSpec, 'cpus' | 'memoryMiB' | 'diskMiB' | 'network'>;

/** A host folder, copied into the guest: regular files, links as links, empty folders, modes. `.git` is left out. */
export interface Injection {
  /** On the host. */
  from: string;
  /** Absolute, in the guest; made when absent. */
  to: string;
  /** Whether the `.gitignore` files in the folder say what is left out. @default 'gitignore' */
  ignore?: 'gitignore' | 'nothing';
  /** Removes in the guest what is not in the folder, but for what `ignore` leaves out. @default keeps it */
  mirror?: true;
  /** Who owns the copies. @default root */
  owner?: { uid: number; gid: number };
}

/** Whether an action is cached, and under which key. */
export type CachePolicy =
  | 'none'
  /** Under a key of the caller's, which must stand for everything that matters. @param maxAgeMs older entries do not count */
  | { cache: string; mode?: CacheMode; maxAgeMs?: number }
  /** Under a key made of all inputs. */
  | { auto: KeyPolicy; mode?: CacheMode };

/** `use` looks up and stores; `refresh` runs and stores anew; `readOnly` looks up and stores nothing. @default 'use' */
export type CacheMode = 'use' | 'refresh' | 'readOnly';

/** What a made key depends on besides the inputs of the action. */
export type KeyPolicy =
  /** Not cached. */
  | 'none'
  /** On nothing. */
  | 'forever'
  /** Entries older than that do not count. */
  | { ttlMs: number }
  /**
   * On the content of host files: paths and globs, relative to `base` (default: the working directory). A path that is missing, or a
   * glob that finds nothing, is an error.
   */
  | { onChange: readonly string[]; base?: string }
  /** On all of these; with a `none` among them, not cached. */
  | { compose: readonly KeyPolicy[] };

/** Where output goes as it comes. What a callback throws ends the action; its promise is back-pressure. */
export interface Sink {
  onStdout?(line: string, about: OutputMark): void | Promise<void>;
  onStderr?(line: string, about: OutputMark): void | Promise<void>;
  /** The same as raw bytes, in pieces of any size. */
  onStdoutBytes?(chunk: Uint8Array, about: OutputMark): void | Promise<void>;
  onStderrBytes?(chunk: Uint8Array, about: OutputMark): void | Promise<void>;
}

export interface OutputMark {
  /** Output of an earlier run, or of one that another caller asked for. */
  replayed: boolean;
}

export interface ActionResult {
  /** 0–255. A hit's is 0: nothing else is stored. */
  exitCode: number;
  /** Name of the signal that ended the command. */
  signal?: string;
  /** What the machine was after the command, when it exited with 0. */
  snapshot?: SnapshotRef;
  /** Nothing was run: it is the result of an earlier run. */
  cached: boolean;
  /** Nothing was run for this caller: another one asked for the same at the same time. */
  joined: boolean;
  /** Under which it is stored; absent when it is not cached. */
  key?: string;
  /** Of this call, in ms. */
  durationMs: number;
  /** Of a hit: how much longer the run took. */
  savedMs?: number;
  /** The kept part of the output. UTF-8, invalid bytes replaced; a mark stands for what was left out. */
  stdout: string;
  stderr: string;
  truncated: boolean;
  /** Bytes of output that were not kept. */
  droppedBytes: number;
  /** Where the time went; absent when nothing was run. */
  phases?: ActionPhases;
  /** What did not go as it should and did not change the result, in sentences: a look-up that failed, a snapshot that could not be removed. */
  warnings: readonly string[];
}

/** In ms. */
export interface ActionPhases {
  /** Until commands can run. */
  machine: number;
  inject: number;
  /** As the caller sees it. */
  run: number;
  /** As measured in the guest; part of `run`. */
  command: number;
  /** Taking the snapshot, and storing it. */
  snapshot: number;
}
