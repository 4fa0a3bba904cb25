import { constants } from 'node:fs';
import { access, readdir, stat, statfs } from 'node:fs/promises';
import { isAlcoveError } from '../errors.ts';
import { packagePath, runTool } from '../host/index.ts';

/** What `alcove doctor` looks at of the host; a test gives it another one. */
export interface DoctorHost {
  readonly nodeVersion: string;
  readonly uid: number;
  /** Where the guest agent's program should be. */
  readonly agentPath: string;
  /** A program's version, or the first line it says of itself; `undefined` when it is not installed. */
  toolVersion(tool: string, args: readonly string[]): Promise<string | undefined>;
  exists(path: string): Promise<boolean>;
  canWrite(path: string): Promise<boolean>;
  /** Of a regular file; `undefined` where there is none. */
  fileSize(path: string): Promise<number | undefined>;
  /** Names in a directory; none where there is no directory. */
  list(path: string): Promise<string[]>;
  freeBytes(path: string): Promise<number>;
}

/** The host this process runs on. */
export function systemDoctorHost(signal?: AbortSignal): DoctorHost {
  return {
    nodeVersion: process.versions.node,
    uid: process.getuid?.() ?? 0,
    agentPath: packagePath('dist/agent/alcove-agent'),
    toolVersion: (tool, args) => toolVersion(tool, args, signal),
    exists: (path) => succeeds(access(path)),
    canWrite: (path) => succeeds(access(path, constants.W_OK | constants.X_OK)),
    fileSize: async (path) => {
      const found = await stat(path).catch(() => undefined);
      return found?.isFile() ? found.size : undefined;
    },
    list: (path) => readdir(path).catch(() => []),
    freeBytes: async (path) => {
      const { bavail, bsize } = await statfs(path);
      return bavail * bsize;
    },
  };
}

async function toolVersion(
  tool: string,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await runTool(tool, args, signal ? { signal } : {});
    const said = stdout || stderr; // mke2fs writes its version to standard error.
    return /\d+\.\d+(?:\.\d+)*/.exec(said)?.[0] ?? said.trim().split('\n')[0] ?? '';
  } catch (error) {
    if (isAlcoveError(error, 'ToolMissing')) return undefined;
    if (isAlcoveError(error, 'ToolFailed')) return 'installed, and does not say its version';
    throw error;
  }
}

function succeeds(promise: Promise<unknown>): Promise<boolean> {
  return promise.then(
    () => true,
    () => false,
  );
}
