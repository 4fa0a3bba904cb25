import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import type { StateDir } from '../../store/index.ts';

/** Where the lasting things of one VM lie. */
export interface VmPlaces {
  readonly id: string;
  readonly dir: string;
  /** The layers of its disk. */
  readonly disk: string;
  /** The layers of its memory that its machine runs on, and, while it is suspended, its devices' state. */
  readonly memory: string;
  /** Of its current run; see {@link MachinePlaces}. Came from elsewhere when a spare was taken over. */
  readonly machineDir: string;
  /** Durable: what the VM is. */
  readonly recordPath: string;
  readonly consolePath: string;
}

/**
 * Where everything of one run of a machine lies, be it of a VM, a spare or a template in the making. What lies outside its
 * directory follows from the state directory and the machine's name, which its run record tells.
 */
export interface MachinePlaces {
  /** The VM's id; of a machine that was not made for one VM, a name with a `_`, which no id has. */
  readonly name: string;
  readonly dir: string;
  /** QEMU's working directory and, as root, its root: second names of what it reads and writes, and nothing else. */
  readonly jail: string;
  /** What runs now; means nothing after a host boot. */
  readonly runPath: string;
  /** What QEMU itself says. */
  readonly logPath: string;
  /** The file its memory is mapped from: a second name of a memory image. */
  readonly ramPath: string;
  /** Sockets; private to this user. */
  readonly socketDir: string;
  readonly qmpSocket: string;
  readonly agentSocket: string;
  /** On QEMU's command line (`-name`), to find its process by. Unique on this host. */
  readonly processName: string;
  /** Name of its control group. */
  readonly cgroupName: string;
}

/** What names are made from. */
export type NamingStateDir = Pick<StateDir, 'root' | 'runtimeDir'>;

/** `sun_path` of unix(7), less the terminating zero. */
const maxSocketPathBytes = 107;

export function vmPlaces(id: string, dir: string): VmPlaces {
  return {
    id,
    dir,
    disk: join(dir, 'disk'),
    memory: join(dir, 'memory'),
    machineDir: join(dir, 'machine'),
    recordPath: join(dir, 'vm.json'),
    consolePath: join(dir, 'console.log'),
  };
}

/** @throws AlcoveError `StateUnusable` when the runtime directory's path is too long for a Unix socket below it */
export function machinePlaces(stateDir: NamingStateDir, name: string, dir: string): MachinePlaces {
  const short = digest(`${stateDir.root}\0${name}`, 16);
  const socketDir = join(stateDir.runtimeDir, short);
  const agentSocket = join(socketDir, 'agent.sock');
  if (Buffer.byteLength(agentSocket) > maxSocketPathBytes) {
    throw new AlcoveError('StateUnusable', `${agentSocket} is too long for the path of a Unix socket`, {
      remedy: 'Set XDG_RUNTIME_DIR to a shorter path.',
      details: { path: agentSocket, maxBytes: maxSocketPathBytes },
    });
  }
  return {
    name,
    dir,
    jail: join(dir, 'jail'),
    runPath: join(dir, 'run.json'),
    logPath: join(dir, 'qemu.log'),
    ramPath: join(dir, 'ram'),
    socketDir,
    qmpSocket: join(socketDir, 'qmp.sock'),
    agentSocket,
    processName: `${processPrefix(stateDir)}${name}`,
    cgroupName: `alcove-${stateName(stateDir)}-${short}`,
  };
}

/** What the names of all processes of a state directory begin with. */
export function processPrefix(stateDir: NamingStateDir): string {
  return `alcove-${stateName(stateDir)}-`;
}

/** Of the root, not of the runtime directory: a copied state directory must not take the original's VMs for its own. */
function stateName({ root }: NamingStateDir): string {
  return digest(root, 12);
}

function digest(text: string, length: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, length);
}
