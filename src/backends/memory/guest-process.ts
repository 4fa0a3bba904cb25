import type { GuestProcess } from '../../guest/index.ts';
import type { BytePipe } from './byte-pipe.ts';
import type { MemoryCommand } from './memory-command.ts';

/** A running command as a client sees it. */
export function asGuestProcess(
  command: MemoryCommand,
  stdout: BytePipe,
  stderr: BytePipe,
  letGo: () => void,
): GuestProcess {
  return {
    pid: command.pid,
    stdout: stdout.read(),
    stderr: stderr.read(),
    stdin: command.stdin,
    exited: command.exited,
    kill: async (signal) => command.kill(signal),
    resize: async (size) => command.resize(size),
    [Symbol.asyncDispose]: async () => letGo(),
  };
}
