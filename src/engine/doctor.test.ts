import { expect, test } from 'vitest';
import type { CgroupPlaces } from '../backends/qemu/cgroup-places.ts';
import { describeLimits } from '../backends/qemu/spawn-qemu.ts';
import { AlcoveError } from '../errors.ts';
import type { BackendProbe } from '../vm/index.ts';
import type { Alcove } from './alcove.ts';
import { type DiagnoseOptions, type DoctorCheck, diagnose, type EngineFinding } from './doctor.ts';
import type { DoctorHost } from './doctor-host.ts';

const versions: Record<string, string> = {
  'qemu-system-x86_64': '7.2.22',
  'qemu-img': '7.2.22',
  'mkfs.ext4': '1.47.0',
  mksquashfs: '4.5.1',
  skopeo: '1.9.3',
  'apt-get': '2.6.1',
  'dpkg-deb': '1.21.22',
};

const kvm: BackendProbe = {
  usable: true,
  version: '7.2.22',
  facts: {
    accelerator: 'kvm',
    acceleratorReason: 'a kernel was booted with it',
    user: 'one per VM',
    root: "the VM's disk only",
    seccomp: 'on',
    limits: 'cgroup v2: memory, pids, cpu',
  },
  capabilities: {},
};

/** A host that lacks nothing, with changes. */
function host(changes: Partial<DoctorHost> = {}): DoctorHost {
  const files = ['/agent', '/state/kernels/6.1.0-40/vmlinuz'];
  return {
    nodeVersion: '24.1.0',
    uid: 0,
    agentPath: '/agent',
    toolVersion: async (tool) => versions[tool],
    exists: async () => true,
    canWrite: async () => true,
    fileSize: async (path) => (files.includes(path) ? 1 : undefined),
    list: async () => ['6.1.0-40', 'initramfs'],
    freeBytes: async () => 100 * 2 ** 30,
    ...changes,
  };
}

function open({
  mended = [],
  builtin = true as unknown,
}: {
  mended?: string[];
  builtin?: unknown;
} = {}): EngineFinding {
  const images = { find: async () => (builtin ? { digest: 'sha256:ab' } : undefined) };
  return { state: 'open', alcove: { mended, images } as unknown as Alcove };
}

const closed = (error: AlcoveError): EngineFinding => ({ state: 'closed', error });

const layout = { root: '/state', runtimeDir: '/run/alcove/0123456789ab', kernelsDir: '/state/kernels' };

function look(changes: Partial<DiagnoseOptions> = {}) {
  return diagnose({ engine: open(), layout, host: host(), probe: async () => kvm, ...changes });
}

async function check(
  name: string,
  changes: Partial<DiagnoseOptions>,
): Promise<DoctorCheck & { usable: boolean }> {
  const { checks, usable } = await look(changes);
  const found = checks.find((c) => c.name === name);
  if (!found) throw new Error(`no check ${name}`);
  return { ...found, usable };
}

test('a host that lacks nothing', async () => {
  const { usable, checks } = await look();
  expect(usable).toBe(true);
  expect(checks.filter(({ state }) => state !== 'ok')).toEqual([]);
  expect(checks.map(({ name }) => name)).toEqual([
    'node',
    ...Object.keys(versions),
    'backend',
    'accelerator',
    'confinement',
    'guest agent',
    'kernel',
    'built-in image',
    'state directory',
    'runtime directory',
    'engine',
  ]);
});

test.each(['22.14.0', '20.19.5'])('Node %s is too old', async (nodeVersion) => {
  expect(await check('node', { host: host({ nodeVersion }) })).toMatchObject({
    state: 'missing',
    usable: false,
  });
});

test.each(['22.15.0', '23.0.0', '26.10.0'])('Node %s is recent enough', async (nodeVersion) => {
  expect(await check('node', { host: host({ nodeVersion }) })).toMatchObject({ state: 'ok' });
});

const without = (missing: string) =>
  host({ toolVersion: async (tool) => (tool === missing ? undefined : '1.0') });

test.each([
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['qemu-img', 'qemu-utils'],
  ['mkfs.ext4', 'e2fsprogs'],
  ['mksquashfs', 'squashfs-tools'],
])('without %s VMs cannot run; the package is %s', async (tool, debianPackage) => {
  expect(await check(tool, { host: without(tool) })).toEqual({
    name: tool,
    state: 'missing',
    found: 'not installed',
    remedy: `apt-get install --yes ${debianPackage}`,
    usable: false,
  });
});

test.each(['skopeo', 'apt-get', 'dpkg-deb'])(
  'without %s they can, and it says what is lost',
  async (tool) => {
    expect(await check(tool, { host: without(tool) })).toMatchObject({
      state: 'degraded',
      found: expect.stringMatching(/^not installed: .*cannot|^not installed: no image can/),
      usable: true,
    });
  },
);

test('an ordinary user is told to install with sudo', async () => {
  const asUser = { ...without('skopeo'), uid: 1000 };
  expect(await check('skopeo', { host: asUser })).toMatchObject({
    remedy: 'sudo apt-get install --yes skopeo',
  });
});

test('software emulation works, and is said to be slow, with the reason', async () => {
  const facts = {
    ...kvm.facts,
    accelerator: 'tcg',
    acceleratorReason: 'the processor has no vmx or svm flag',
  };
  expect(await check('accelerator', { probe: async () => ({ ...kvm, facts }) })).toMatchObject({
    state: 'degraded',
    found: expect.stringMatching(/^tcg \(the processor has no vmx or svm flag\)\. .*5 to 20 times as long/),
    usable: true,
  });
});

test.each<[string, CgroupPlaces]>([
  ['without control groups', { kind: 'none', reason: 'no control groups are mounted' }],
  ['with some of the control groups', { kind: 'v1', parents: { pids: '/sys/fs/cgroup/pids' } }],
])('%s it says what bounds a VM', async (_, cgroups) => {
  const facts = { ...kvm.facts, limits: describeLimits({ cgroups, uids: undefined }) };
  expect(await check('confinement', { probe: async () => ({ ...kvm, facts }) })).toMatchObject({
    state: 'degraded',
    found: expect.stringMatching(/prlimit: address space; no limit on .*CPU/),
    remedy: expect.stringContaining('Delegate=yes'),
    usable: true,
  });
});

test.each([
  ['says that it cannot be used', async () => ({ usable: false as const, reason: 'no', remedy: 'do' })],
  [
    'throws',
    async () => {
      throw new AlcoveError('ToolFailed', 'no', { remedy: 'do' });
    },
  ],
])('a backend that %s', async (_, probe) => {
  const expected = { name: 'backend', state: 'missing', found: 'no', remedy: 'do', usable: false };
  expect(await check('backend', { probe })).toEqual(expected);
});

test('without the agent there is nothing to boot', async () => {
  expect(await check('guest agent', { host: host({ agentPath: '/gone' }) })).toMatchObject({
    state: 'missing',
    remedy: 'npm run build',
    usable: false,
  });
});

test('a kernel that is not here yet is fetched, and then the tools for that matter', async () => {
  const fresh = { list: async () => [] };
  expect(await check('kernel', { host: host(fresh) })).toMatchObject({ state: 'degraded', usable: true });
  const bare = host({ ...fresh, toolVersion: async (tool) => (tool === 'apt-get' ? undefined : '1.0') });
  expect(await check('apt-get', { host: bare })).toMatchObject({
    found: expect.stringContaining('--kernel'),
  });
});

test('the built-in image that is not made yet is no defect', async () => {
  expect(await check('built-in image', { engine: open({ builtin: false }) })).toMatchObject({ state: 'ok' });
});

test.each([
  [100 * 2 ** 30, 'ok'],
  [2 * 2 ** 30, 'degraded'],
  [100 * 2 ** 20, 'missing'],
])('%i bytes free: %s', async (free, state) => {
  expect(await check('state directory', { host: host({ freeBytes: async () => free }) })).toMatchObject({
    state,
  });
});

test('a state directory that cannot be made names the directory in the way', async () => {
  const readOnly = host({ exists: async (path) => path === '/', canWrite: async () => false });
  expect(await check('state directory', { host: readOnly })).toMatchObject({
    state: 'missing',
    found: '/state: / is not writable',
  });
});

test.each([
  [79, 'ok'],
  [80, 'missing'],
])('a runtime directory of %i bytes: %s', async (bytes, state) => {
  const runtimeDir = `/${'x'.repeat(bytes - 1)}`;
  expect(await check('runtime directory', { layout: { ...layout, runtimeDir } })).toMatchObject({ state });
});

test('what the engine mended is said', async () => {
  const engine = open({ mended: ['destroyed VM a', 'removed files of b'] });
  expect(await check('engine', { engine })).toMatchObject({
    found: 'mended: destroyed VM a; removed files of b',
  });
});

test('a state directory that another alcove has open is no defect; all else is reported', async () => {
  const engine = closed(new AlcoveError('StateLocked', '/state is in use by another Alcove process (pid 7)'));
  const { usable, checks } = await look({ engine });
  expect(usable).toBe(true);
  expect(checks.find(({ name }) => name === 'engine')).toMatchObject({
    state: 'ok',
    found: expect.stringContaining('pid 7'),
  });
  expect(checks.find(({ name }) => name === 'mksquashfs')).toMatchObject({ state: 'ok' });
  expect(checks.find(({ name }) => name === 'accelerator')).toMatchObject({ state: 'degraded' });
});

test('an engine that does not open is a defect', async () => {
  const engine = closed(
    new AlcoveError('StateCorrupt', 'alcove.db is no database', { remedy: 'Restore it.' }),
  );
  expect(await check('engine', { engine })).toMatchObject({
    state: 'missing',
    remedy: 'Restore it.',
    usable: false,
  });
});
