/**
 * The host's end of a guest, as everything above `src/guest` sees it.
 *
 * A channel belongs to one running VM. One channel carries any number of calls at once; each stream has its own
 * flow control, so a caller that reads slowly (or not at all) holds up nobody else. Output that nobody reads is
 * not collected: the process in the guest blocks on its pipe instead.
 *
 * Every call takes an `AbortSignal`; when it fires, the call is ended *in the guest* (a command's whole process
 * tree is killed) and rejects with `Cancelled` once the guest has confirmed that (`GuestUnreachable` when it does
 * not). The signal of a command or connection counts as long as that lasts; a detached command is only let go of. When the channel breaks, every call under way rejects at once:
 * `GuestUnreachable` when the VM or its agent went away, `GuestProtocol` when the guest sent what it must not.
 *
 * Two implementations: {@link connectGuest} speaks the protocol of `agent/PROTOCOL.md` over a Unix socket; the
 * memory backend's scripted guest is for tests.
 */
export interface GuestChannel extends AsyncDisposable {
  /** What the agent said of itself when the channel came up. */
  readonly hello: GuestHello;
  /** Resolves with the reason when the channel has ended, whoever ended it. Never rejects. */
  readonly closed: Promise<Error>;

  /** One round trip to the agent, nothing else. */
  ping(options?: CallOptions): Promise<void>;
  /** Mounts the root filesystem and takes on identity, clock, randomness and network. Once per boot. */
  setup(request: GuestSetup, options?: CallOptions): Promise<void>;

  /**
   * Does what `setup` and the first `exec` will make the guest do, and leaves no trace of it: for machines made ahead of need, whose
   * code is translated by this, and not while somebody waits.
   *
   * Before {@link setup}, with the serials of disks made for it: they are mounted, written to, and let go of, so that others can be put in
   * their places while the machine stands still. A squashfs that has `etc/hostname`, `etc/machine-id` and `etc/hosts` has them copied
   * up; files in its root directory are read, and run (with `--no-op`) when they are programs. Without serials, at any time, a
   * command is run that does nothing. `GuestFile` when something fails: nothing is mounted then.
   */
  rehearse(request: GuestRehearsal, options?: CallOptions): Promise<void>;

  /**
   * Starts a command. Resolves when it runs; rejects with `CommandNotStarted` when it cannot (no such program,
   * directory or user; not executable), `InvalidInput` when the request is malformed.
   */
  exec(request: ExecRequest, options?: CallOptions): Promise<GuestProcess>;
  /**
   * Joins a detached command again: what is retained of its output, then what follows, then its exit; the client before is let go of. Of a
   * terminal it is the end of what it showed, sent before or not, without what it would answer. `CommandNotFound`.
   */
  attach(id: string, options?: CallOptions): Promise<GuestProcess>;
  /** Detached commands the guest knows: running ones, and those whose exit is still kept. */
  listDetached(options?: CallOptions): Promise<DetachedCommand[]>;

  readonly files: GuestFiles;
  /** A TCP connection to `127.0.0.1:port` inside the guest. `GuestFile` with errno `ECONNREFUSED` when nobody listens. */
  dial(port: number, options?: CallOptions): Promise<GuestConnection>;

  /**
   * Flushes and freezes the guest's writable filesystems until {@link thaw}; the guest thaws by itself after `maxMs`.
   *
   * With `processes: 'freeze'` every process of every command stands still too, and the guest is *sealed*: calls that
   * need it going wait inside the guest. A sealed guest whose line was lost, as that of every copy made of it is,
   * goes on by {@link renew} alone: no process of a copy runs on before its randomness and identity are its own.
   */
  freeze(options?: CallOptions & { maxMs?: number; processes?: 'freeze' | 'leave' }): Promise<void>;
  /** Also when nothing is frozen. `InvalidInput` of a sealed guest whose line was lost: it needs {@link renew}. */
  thaw(options?: CallOptions): Promise<void>;
  /**
   * Makes a restored, resumed or sealed guest somebody: randomness, clock, filesystems, identity and network first, then its
   * processes go on. When any of it fails, they do not. On a guest that was not sealed it does the same.
   */
  renew(request: GuestRenewal, options?: CallOptions): Promise<GuestRenewed>;
  /**
   * Runs the programs in `/etc/alcove/hooks/<event>.d`, one after the other in the order of their names.
   * `GuestHookFailed` with the program's name and the end of its output when one fails or takes longer than
   * `timeoutMs` (default 30 000) altogether; those after it are not run. Nothing there is fine.
   */
  runHooks(event: GuestHookEvent, options?: CallOptions & { timeoutMs?: number }): Promise<void>;
  setClock(unixMs: number, options?: CallOptions): Promise<void>;
  /** Mixes `seed` (32 to 512 bytes) into the kernel's random pool and reseeds its generator. */
  addEntropy(seed: Uint8Array, options?: CallOptions): Promise<void>;
  setIdentity(identity: GuestIdentity, options?: CallOptions): Promise<void>;
  setNetwork(network: GuestNetwork, options?: CallOptions): Promise<void>;
  usage(options?: CallOptions): Promise<GuestUsage>;
  /** Ends every process (TERM, grace, KILL), unmounts cleanly and powers off. Resolves when the guest has begun. */
  shutdown(options?: CallOptions & { graceMs?: number }): Promise<void>;
}

export interface CallOptions {
  signal?: AbortSignal;
}

export interface GuestHello {
  protocol: number;
  agentVersion: string;
  /** Random per boot of the guest (32 hex digits): tells a reconnect from a reboot. */
  bootId: string;
  /** Whether {@link GuestChannel.setup} has happened. */
  ready: boolean;
  kernelRelease: string;
}

export interface GuestSetup {
  /** virtio-blk serial of the read-only squashfs; absent when the guest has a single writable root. */
  lowerSerial?: string;
  /** virtio-blk serial of the writable ext4. */
  upperSerial: string;
  identity: GuestIdentity;
  unixMs: number;
  /** 32 to 512 random bytes. */
  entropy: Uint8Array;
  network?: GuestNetwork;
}

export interface GuestRehearsal {
  /** As in {@link GuestSetup}. */
  lowerSerial?: string;
  upperSerial?: string;
}

/** What a guest becomes when it goes on after a restore, a pause or a memory snapshot of it. */
export interface GuestRenewal {
  identity: GuestIdentity;
  unixMs: number;
  /** 32 to 512 random bytes. */
  entropy: Uint8Array;
  network?: GuestNetwork;
}

export interface GuestRenewed {
  /** Whether there are programs to run for `after-restore`. */
  hooks: 'none' | 'some';
}

/** `after-snapshot` is told to the machine that was snapshotted, `after-restore` to every one made from the snapshot. */
export type GuestHookEvent = 'before-snapshot' | 'after-snapshot' | 'after-restore';

export interface GuestIdentity {
  hostname: string;
  /** 32 hex digits. */
  machineId: string;
}

export interface GuestNetwork {
  /** CIDR, e.g. `10.0.2.15/24`. */
  address: string;
  gateway: string;
  dns: string[];
  /** Of the one network interface, e.g. `52:54:00:12:34:56`. @default left as it is */
  mac?: string;
}

/** A program and its arguments, or one line for `/bin/sh -c`. */
export type Command = readonly [string, ...string[]] | string;

export interface ExecRequest {
  command: Command;
  /** The whole environment; nothing is added but `PATH`, `HOME`, `USER`, `TERM` (PTY) where absent. */
  env?: Record<string, string>;
  /** Absolute. @default the user's home, or `/` */
  cwd?: string;
  /** `name`, `uid`, `name:group` or `uid:gid`, looked up in the guest. @default 'root' */
  user?: string;
  /** @default 'none': reads see end of file at once */
  stdin?: 'none' | 'pipe';
  /** Runs on a new terminal; its output arrives on stdout, stderr stays empty. */
  pty?: TerminalSize;
  /** Time for start and run, in ms; then TERM to the whole tree, `graceMs`, KILL. Enforced in the guest. */
  timeoutMs?: number;
  /** @default 2000 */
  graceMs?: number;
  /** What becomes of processes of the command that outlive it. @default 'kill' */
  background?: 'kill' | 'keep';
  /** With `background: 'keep'`: how long pipes they hold open are still read after the exit, in ms. @default 100 */
  drainMs?: number;
  /** Makes the command detached, under this id: it goes on without a client and can be attached to. */
  detachedId?: string;
}

export interface TerminalSize {
  rows: number;
  columns: number;
}

/**
 * A command in the guest. `stdout` and `stderr` can each be iterated once; both must be read (or the handle
 * disposed) for the command to be able to end. Disposing kills it, unless it is detached.
 */
export interface GuestProcess extends AsyncDisposable {
  readonly pid: number;
  readonly stdout: AsyncIterable<Uint8Array>;
  readonly stderr: AsyncIterable<Uint8Array>;
  readonly stdin: GuestSink;
  /** Sends a signal (e.g. `'SIGINT'` or a number) to the command's whole process tree. */
  kill(signal: string | number): Promise<void>;
  resize(size: TerminalSize): Promise<void>;
  /**
   * The exit, once every process of the tree that must end has ended and all output was delivered. Rejects with
   * `GuestUnreachable`, `GuestProtocol` or `Cancelled` when it will never be known.
   */
  readonly exited: Promise<ExecExit>;
}

export interface ExecExit {
  /** 0–255; 128 + signal number when a signal ended it. */
  exitCode: number;
  /** Name of the signal that ended it, e.g. `SIGKILL`. */
  signal?: string;
  timedOut: boolean;
  /** As measured in the guest, in ms. */
  durationMs: number;
  /** Bytes of output the guest could not keep (detached commands only). */
  droppedBytes: number;
}

/** Something that takes bytes, with back-pressure: `write` resolves when there is room for more. */
export interface GuestSink {
  write(chunk: Uint8Array): Promise<void>;
  /** No more will come. */
  end(): Promise<void>;
}

export interface DetachedCommand {
  id: string;
  pid: number;
  /** Absent while it runs. */
  exit?: ExecExit;
}

export interface GuestConnection extends AsyncDisposable {
  readonly readable: AsyncIterable<Uint8Array>;
  readonly writable: GuestSink;
}

export type FileKind = 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block';

export interface FileStat {
  path: string;
  kind: FileKind;
  size: number;
  /** Permission bits with setuid, setgid and sticky, e.g. 0o644. */
  mode: number;
  uid: number;
  gid: number;
  mtimeMs: number;
  /** Of a symlink. */
  target?: string;
}

export interface TarInOptions extends CallOptions {
  /** Whose everything shall be. @default whose the tar says */
  owner?: { uid: number; gid: number };
  /** What becomes of entries that are character or block devices. @default 'make' */
  devices?: 'make' | 'refuse';
}

/** Files in the guest. Paths are absolute, in the guest's root. Errors: `GuestFile` with the errno's name. */
export interface GuestFiles {
  /** @param options.offset in bytes @param options.length at most so many bytes */
  read(path: string, options?: CallOptions & { offset?: number; length?: number }): AsyncIterable<Uint8Array>;
  /** Replaces the file whole: written under a temporary name beside it, synced, renamed. `append` adds to it in place. */
  write(
    path: string,
    data: AsyncIterable<Uint8Array> | Uint8Array | string,
    options?: CallOptions & { mode?: number; uid?: number; gid?: number; append?: true },
  ): Promise<void>;
  /** Does not follow a last symlink. */
  stat(path: string, options?: CallOptions): Promise<FileStat>;
  /** Sorted by name; paths are absolute. */
  list(path: string, options?: CallOptions): AsyncIterable<FileStat>;
  mkdir(path: string, options?: CallOptions & { parents?: true; mode?: number }): Promise<void>;
  remove(path: string, options?: CallOptions & { recursive?: true }): Promise<void>;
  rename(from: string, to: string, options?: CallOptions): Promise<void>;
  /** Changes below a directory (itself only, or with `recursive` its tree), from the first `next` until the iteration ends. */
  watch(path: string, options?: CallOptions & { recursive?: true }): AsyncIterable<FileChange>;
  /**
   * Unpacks a tar stream (ustar, pax or GNU; not compressed) below `path`, which is made when absent. An entry
   * that would leave `path`, by `..`, an absolute name or through a link, is refused with `InvalidInput`.
   * Sparse files get their holes. Owners are kept; with `owner`, everything belongs to it. Character and block devices are
   * made, or with `devices: 'refuse'` refused with `InvalidInput` (`Unsupported` from a guest whose agent is too old to know).
   * What was unpacked before a refusal stays. Of each chunk nothing is used any more when the next is asked for.
   */
  tarIn(path: string, tar: AsyncIterable<Uint8Array>, options?: TarInOptions): Promise<void>;
  /**
   * The tree below `path` as a pax tar with names relative to it (`.` first), with owners, modes, times, hard links, xattrs, and
   * sparse files as GNU.sparse 1.0. A file becomes a tar of one entry.
   */
  tarOut(path: string, options?: CallOptions): AsyncIterable<Uint8Array>;
}

export interface FileChange {
  path: string;
  kind: 'created' | 'modified' | 'removed' | 'moved' | 'overflow';
}

export interface GuestUsage {
  memoryTotalBytes: number;
  memoryAvailableBytes: number;
  diskTotalBytes: number;
  diskUsedBytes: number;
  cpuMs: number;
  processes: number;
  uptimeMs: number;
}

/** A command run to its end, with its output kept within a cap. */
export interface ExecResult {
  exitCode: number;
  signal?: string;
  /** Head and tail with a mark between when `truncated`. UTF-8, invalid bytes replaced. */
  stdout: string;
  stderr: string;
  truncated: boolean;
  /** Bytes that are in neither `stdout` nor `stderr`. */
  droppedBytes: number;
  durationMs: number;
}
