import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { AlcoveError } from '../errors.ts';

/**
 * Layout of one state directory, which exactly one engine owns at a time.
 * `runtimeDir` holds sockets; its path is short, because a Unix socket's must stay under 108 bytes (unix(7)).
 */
export interface StateDirLayout {
  readonly root: string;
  readonly runtimeDir: string;
  readonly databasePath: string;
  readonly imagesDir: string;
  readonly kernelsDir: string;
  readonly templatesDir: string;
  /** Machines made ahead of need. */
  readonly sparesDir: string;
  readonly vmsDir: string;
  readonly snapshotsDir: string;
  /** For half-made files; emptied at open. On the same file system as the rest. */
  readonly tmpDir: string;
}

/** The layout with its lock; disposing lets go of it. */
export type StateDir = StateDirLayout & Disposable;

const runtimeRecord = 'runtime-dir';

/** `$XDG_STATE_HOME/alcove`, or `~/.local/state/alcove`. */
export function defaultStateDir(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_STATE_HOME || join(env.HOME || homedir(), '.local/state'), 'alcove');
}

/** Of a state directory: its own folder under `$XDG_RUNTIME_DIR/alcove`, named by a digest so that it is short and differs between state directories. */
export function runtimeDirOf(root: string, env: NodeJS.ProcessEnv = process.env): string {
  const base = env.XDG_RUNTIME_DIR || (userInfo().uid === 0 ? '/run' : sharedRuntimeBase());
  return join(base, 'alcove', createHash('sha256').update(root).digest('hex').slice(0, 12));
}

/** Where there is no directory of this user alone: a folder in one where everybody may make folders. */
function sharedRuntimeBase(): string {
  return join(tmpdir(), `alcove-${userInfo().uid}`);
}

/** Where things lie in a state directory, whether or not it is there. */
export function stateDirLayout(path: string, env: NodeJS.ProcessEnv = process.env): StateDirLayout {
  const root = resolve(path);
  return {
    root,
    runtimeDir: recordedRuntimeDir(root) ?? runtimeDirOf(root, env),
    databasePath: join(root, 'alcove.db'),
    imagesDir: join(root, 'images'),
    kernelsDir: join(root, 'kernels'),
    templatesDir: join(root, 'templates'),
    sparesDir: join(root, 'spares'),
    vmsDir: join(root, 'vms'),
    snapshotsDir: join(root, 'snapshots'),
    tmpDir: join(root, 'tmp'),
  };
}

/** Running VMs have their sockets where the engine that started them put them, whatever this process's environment says. */
function recordedRuntimeDir(root: string): string | undefined {
  try {
    const path = readFileSync(join(root, runtimeRecord), 'utf8').trim();
    return existsSync(path) ? path : undefined; // A reboot, or a logout, takes it away with all that ran.
  } catch {
    return undefined; // None was recorded yet.
  }
}

/**
 * Takes a state directory, making it when absent. The lock is SQLite's own file lock on `lock.db`, which the operating
 * system releases when the process ends, however it ends.
 *
 * @throws AlcoveError `StateLocked` (names the process that has it), `StateUnusable`
 */
export function openStateDir(options: { root?: string; env?: NodeJS.ProcessEnv } = {}): StateDir {
  const layout = stateDirLayout(options.root ?? defaultStateDir(options.env), options.env);
  const { root } = layout;
  try {
    for (const dir of Object.values(layout)) {
      if (dir !== layout.databasePath) mkdirSync(dir, { recursive: true, mode: 0o700 });
    }
    requireOwnBase(layout.runtimeDir);
  } catch (error) {
    throw unusable(root, error);
  }
  const lock = takeLock(layout);
  try {
    for (const name of readdirSync(layout.tmpDir)) rmSync(join(layout.tmpDir, name), { recursive: true });
  } catch (error) {
    lock.close();
    throw unusable(root, error);
  }
  return { ...layout, [Symbol.dispose]: () => lock.close() };
}

/** Somebody else may have made it first, under the name we look for; they could then put their own sockets in the place of ours. */
function requireOwnBase(runtimeDir: string): void {
  const base = sharedRuntimeBase();
  if (!runtimeDir.startsWith(`${base}/`)) return;
  const { uid, mode } = lstatSync(base);
  if (uid === userInfo().uid && (mode & 0o022) === 0) return;
  throw new AlcoveError('StateUnusable', `cannot keep sockets in ${base}: others may write there`, {
    remedy: 'Set XDG_RUNTIME_DIR to a directory of your own.',
  });
}

function takeLock({ root, runtimeDir }: StateDirLayout): DatabaseSync {
  const path = join(root, 'lock.db');
  const owner = join(root, 'lock.owner');
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { timeout: 0 });
    db.exec('PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE');
    writeFileSync(owner, `${process.pid}\n`);
    writeFileSync(join(root, runtimeRecord), `${runtimeDir}\n`);
    return db;
  } catch (error) {
    db?.close();
    const code = Number((error as { errcode?: number }).errcode ?? 0) & 0xff;
    if (code !== 5 && code !== 6) throw unusable(root, error); // SQLITE_BUSY, SQLITE_LOCKED
    const pid = readOwner(owner);
    throw new AlcoveError(
      'StateLocked',
      `${root} is in use by another Alcove process${pid ? ` (pid ${pid})` : ''}`,
      {
        details: { root, pid },
        cause: error,
      },
    );
  }
}

function readOwner(path: string): number | undefined {
  try {
    return Number(readFileSync(path, 'utf8').trim()) || undefined;
  } catch {
    return undefined; // Only a help in a message.
  }
}

function unusable(root: string, cause: unknown): AlcoveError {
  if (cause instanceof AlcoveError) return cause;
  return new AlcoveError(
    'StateUnusable',
    `cannot use the state directory ${root}: ${(cause as Error).message}`,
    {
      remedy: 'Make it writable, make room, or name another with --state-dir.',
      cause,
    },
  );
}
