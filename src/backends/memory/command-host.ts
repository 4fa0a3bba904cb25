import type { ExecRequest } from '../../guest/index.ts';
import type { GuestClock } from './guest-clock.ts';
import type { MemoryDisk } from './memory-disk.ts';
import type { ScriptedExit, ScriptedFiles, ScriptedRun } from './script.ts';

/** What a command needs of the machine it runs on. */
export interface CommandHost {
  readonly vmId: string;
  readonly hostname: string;
  readonly machineId: string;
  readonly disk: MemoryDisk;
  readonly memory: Map<string, string>;
  readonly clock: GuestClock;
  nowMs(): number;
  random(bytes: number): Uint8Array;
  /** Every process of the machine, by pid. */
  readonly processes: Map<number, string>;
  nextPid(): number;
  behaviourOf(request: ExecRequest): CommandBehaviour;
}

export type CommandBehaviour = (run: ScriptedRun) => Promise<ScriptedExit>;

/** The files of a machine as a command sees them; `alive` throws once the command was killed. */
export function scriptedFiles(host: CommandHost, alive: <T>(value: T) => T): ScriptedFiles {
  const { disk } = host;
  const write = (path: string, text: string) => alive(disk).writeFile(path, text, { mtimeMs: host.nowMs() });
  return {
    exists: (path) => alive(disk).find(path) !== undefined,
    read: (path) => alive(disk).readText(path),
    write,
    append: (path, text) => write(path, (disk.find(path) ? disk.readText(path) : '') + text),
    remove: (path) => alive(disk).remove(path, { recursive: true }),
    list: (path) => alive(disk).list(path),
    sync: () => alive(disk).sync(),
  };
}
