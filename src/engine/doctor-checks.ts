import { dirname, join } from 'node:path';
import { type AlcoveError, isAlcoveError } from '../errors.ts';
import { toolPackages } from '../host/index.ts';
import { builtinImage } from '../images/index.ts';
import type { BackendProbe } from '../vm/index.ts';
import type { Alcove } from './alcove.ts';
import type { DoctorCheck, EngineFinding } from './doctor.ts';
import type { DoctorHost } from './doctor-host.ts';

const oldestNode = [22, 15] as const;

export function checkNode({ nodeVersion }: DoctorHost): DoctorCheck {
  const [major = 0, minor = 0] = nodeVersion.split('.').map(Number);
  const recent = major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1]);
  const wanted = oldestNode.join('.');
  if (recent) return { name: 'node', state: 'ok', found: nodeVersion };
  const found = `${nodeVersion}, older than ${wanted}`;
  return { name: 'node', state: 'missing', found, remedy: `npm install --global node@lts` };
}

type BackendFacts = Extract<BackendProbe, { usable: true }>['facts'];

interface Tool {
  name: string;
  versionArgs: readonly string[];
  /** What does not work without it; absent where VMs cannot run without it. */
  lost?: string;
}

const tools: readonly Tool[] = [
  { name: 'qemu-system-x86_64', versionArgs: ['--version'] },
  { name: 'qemu-img', versionArgs: ['--version'] },
  { name: 'mkfs.ext4', versionArgs: ['-V'] },
  { name: 'mksquashfs', versionArgs: ['-version'] },
  {
    name: 'skopeo',
    versionArgs: ['--version'],
    lost: 'no image can be pulled, nor an OCI or Docker archive imported',
  },
];

/** Needed once per state directory, to fetch the kernel. */
const fetchTools: readonly Tool[] = [
  { name: 'apt-get', versionArgs: ['--version'] },
  { name: 'dpkg-deb', versionArgs: ['--version'] },
];

/** Each program that is started while VMs are made and run. */
export async function checkTools(
  host: DoctorHost,
  kernel: 'kernel present' | 'kernel to be fetched',
): Promise<DoctorCheck[]> {
  const lost =
    kernel === 'kernel present'
      ? 'a newer kernel cannot be fetched'
      : 'the kernel cannot be fetched; name one with --kernel and --modules';
  const all = [...tools, ...fetchTools.map((tool) => ({ ...tool, lost }))];
  return Promise.all(
    all.map(async (tool): Promise<DoctorCheck> => {
      const { name } = tool;
      const version = await host.toolVersion(name, tool.versionArgs);
      if (version !== undefined) return { name, state: 'ok', found: version };
      return {
        name,
        state: tool.lost ? 'degraded' : 'missing',
        found: tool.lost ? `not installed: ${tool.lost}` : 'not installed',
        remedy: asRoot(host, `apt-get install --yes ${toolPackages[name] ?? name}`),
      };
    }),
  );
}

/** The backend itself, how guest code is executed, and what holds QEMU in its bounds. */
export function checkBackend(probe: BackendProbe, engine: EngineFinding): DoctorCheck[] {
  if (!probe.usable)
    return [{ name: 'backend', state: 'missing', found: probe.reason, remedy: probe.remedy }];
  const { facts, version } = probe;
  return [
    { name: 'backend', state: 'ok', found: version },
    ...checkAccelerator(facts, engine),
    ...checkConfinement(facts),
  ];
}

/** Measured with QEMU 7.2 on two cores, busybox in guest and host: sha256sum and gzip 5, starting programs 6, a shell loop 18. */
const tcgFactor = '5 to 20';

function checkAccelerator(facts: BackendFacts, engine: EngineFinding): DoctorCheck[] {
  const { accelerator, acceleratorReason } = facts;
  const name = 'accelerator';
  if (accelerator === undefined) return [];
  if (engine.state === 'closed') {
    // Proof of KVM is a trial boot with a kernel of the state directory, and that belongs to whoever has it open.
    return [{ name, state: 'degraded', found: 'not looked at: the state directory is not open here' }];
  }
  const why = acceleratorReason ? ` (${acceleratorReason})` : '';
  if (accelerator !== 'tcg') return [{ name, state: 'ok', found: `${accelerator}${why}` }];
  return [
    {
      name,
      state: 'degraded',
      found: `tcg${why}. VMs work; what they compute takes some ${tcgFactor} times as long as on the host`,
      remedy: 'Use a host with hardware virtualisation, or turn on nested virtualisation for this one.',
    },
  ];
}

/** Who QEMU runs as and what it sees, and whether the kernel holds it to its limits. */
function checkConfinement({ user, root, seccomp, limits }: BackendFacts): DoctorCheck[] {
  if (limits === undefined) return [];
  const name = 'confinement';
  const found = `user: ${user}; sees: ${root}; seccomp: ${seccomp}; limits: ${limits}`;
  if (/^cgroup v[12]: memory, pids, cpu$/.test(limits)) return [{ name, state: 'ok', found }];
  const remedy = 'systemd-run --user --scope -p Delegate=yes alcove …';
  return [{ name, state: 'degraded', found, remedy }];
}

export async function checkAgent(host: DoctorHost): Promise<DoctorCheck> {
  const size = await host.fileSize(host.agentPath);
  if (size !== undefined) return { name: 'guest agent', state: 'ok', found: host.agentPath };
  return {
    name: 'guest agent',
    state: 'missing',
    found: `${host.agentPath} is not there`,
    remedy: 'npm run build',
  };
}

/** Kernels are kept as `<release>/vmlinuz`. */
export async function checkKernel(host: DoctorHost, kernelsDir: string): Promise<DoctorCheck> {
  const present: string[] = [];
  for (const release of await host.list(kernelsDir)) {
    if ((await host.fileSize(join(kernelsDir, release, 'vmlinuz'))) !== undefined) present.push(release);
  }
  if (present.length > 0) return { name: 'kernel', state: 'ok', found: present.join(', ') };
  return {
    name: 'kernel',
    state: 'degraded',
    found: 'not here yet; fetched at the first start of a VM, which needs the network',
    remedy: 'alcove run -- true',
  };
}

export async function checkImage(alcove: Pick<Alcove, 'images'>): Promise<DoctorCheck> {
  const image = await alcove.images.find(builtinImage);
  const found = image ? image.digest : 'not made yet; made at its first use';
  return { name: 'built-in image', state: 'ok', found };
}

const mib = 1024 * 1024;
/** A kernel, the built-in image and one template of the default shape, with some air. */
const leastFreeBytes = 512 * mib;
const comfortableFreeBytes = 4096 * mib;

export async function checkStateDir(host: DoctorHost, stateDir: string): Promise<DoctorCheck> {
  const name = 'state directory';
  let existing = stateDir;
  while (!(await host.exists(existing)) && dirname(existing) !== existing) existing = dirname(existing);
  if (!(await host.canWrite(existing))) {
    const remedy = 'alcove --state-dir DIR doctor';
    return { name, state: 'missing', found: `${stateDir}: ${existing} is not writable`, remedy };
  }
  const free = await host.freeBytes(existing);
  const found = `${stateDir}, ${Math.floor(free / mib)} MiB free`;
  if (free >= comfortableFreeBytes) return { name, state: 'ok', found };
  const state = free < leastFreeBytes ? 'missing' : 'degraded';
  return { name, state, found: `${found}: too little for long`, remedy: 'alcove vm ls; alcove image ls' };
}

/** `sun_path` of unix(7) less the final zero, and what a VM's socket adds to the directory's path. */
const longestRuntimeDir = 107 - '/0123456789abcdef/agent.sock'.length;

export function checkRuntimeDir(path: string): DoctorCheck {
  const name = 'runtime directory';
  const bytes = Buffer.byteLength(path);
  if (bytes <= longestRuntimeDir) return { name, state: 'ok', found: path };
  return {
    name,
    state: 'missing',
    found: `${path} has ${bytes} bytes; the path of a Unix socket below it would be too long (${longestRuntimeDir} at most)`,
    remedy: 'export XDG_RUNTIME_DIR=/run/user/$(id -u)',
  };
}

/** Whether the state directory could be opened, and what had been left over in it. */
export function checkEngine(engine: EngineFinding): DoctorCheck {
  const name = 'engine';
  if (engine.state === 'open') {
    const { mended } = engine.alcove;
    return {
      name,
      state: 'ok',
      found: mended.length === 0 ? 'nothing left over' : `mended: ${mended.join('; ')}`,
    };
  }
  const { error } = engine;
  if (isAlcoveError(error, 'StateLocked')) {
    return { name, state: 'ok', found: `${error.message}; leftovers were looked for when that one started` };
  }
  return { name, state: 'missing', found: error.message, remedy: (error as AlcoveError).remedy };
}

function asRoot({ uid }: DoctorHost, command: string): string {
  return uid === 0 ? command : `sudo ${command}`;
}
