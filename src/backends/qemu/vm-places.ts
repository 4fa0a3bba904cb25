import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import type { StateDir } from '../../store/index.ts';

/**
 * Where everything of one VM lies. All of it follows from the state directory, the VM's directory and its id, so that it is
 * found again without any record.
 */
export interface VmPlaces {
  readonly id: string;
  readonly dir: string;
  /** QEMU's working directory and, as root, its root: the disk's layers and nothing else. */
  readonly jail: string;
  /** Durable: what the VM is. */
  readonly recordPath: string;
  /** What runs now; means nothing after a host boot. */
  readonly runPath: string;
  readonly consolePath: string;
  /** What QEMU itself says. */
  readonly logPath: string;
  /** Sockets; private to this user. */
  readonly socketDir: string;
  readonly qmpSocket: string;
  readonly agentSocket: string;
  /** On QEMU's command line (`-name`), to find its process by. Unique on this host. */
  readonly processName: string;
  /** Name of its control group. */
  readonly cgroupName: string;
}

/** `sun_path` of unix(7), less the terminating zero. */
const maxSocketPathBytes = 107;

/** @throws AlcoveError `StateUnusable` when the runtime directory's path is too long for a Unix socket below it */
export function vmPlaces(stateDir: Pick<StateDir, 'root' | 'runtimeDir'>, id: string, dir: string): VmPlaces {
  // Of the root, not of the runtime directory: a copied state directory must not take the original's VMs for its own.
  const stateName = digest(stateDir.root, 12);
  const short = digest(`${stateDir.root}\0${id}`, 16);
  const socketDir = join(stateDir.runtimeDir, short);
  const agentSocket = join(socketDir, 'agent.sock');
  if (Buffer.byteLength(agentSocket) > maxSocketPathBytes) {
    throw new AlcoveError('StateUnusable', `${agentSocket} is too long for the path of a Unix socket`, {
      remedy: 'Set XDG_RUNTIME_DIR to a shorter path.',
      details: { path: agentSocket, maxBytes: maxSocketPathBytes },
    });
  }
  return {
    id,
    dir,
    jail: join(dir, 'jail'),
    recordPath: join(dir, 'vm.json'),
    runPath: join(dir, 'run.json'),
    consolePath: join(dir, 'console.log'),
    logPath: join(dir, 'qemu.log'),
    socketDir,
    qmpSocket: join(socketDir, 'qmp.sock'),
    agentSocket,
    processName: `alcove-${stateName}-${id}`,
    cgroupName: `alcove-${stateName}-${short}`,
  };
}

function digest(text: string, length: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, length);
}
