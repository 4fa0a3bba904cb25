import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { isAlcoveError } from '../../errors.ts';
import { systemClock } from '../../host/index.ts';
import { openStateDir, type StateDir } from '../../store/index.ts';
import { digestOf } from '../digest.ts';
import type { GuestKernel } from '../guest-kernel.ts';
import { openKernelStore } from './kernel-store.ts';

/** A folder of this test's, gone after it. */
function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'kernel-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function stateDir(): StateDir {
  const state = openStateDir({ root: join(folder(), 'state') });
  onTestFinished(() => {
    state[Symbol.dispose]();
    rmSync(state.runtimeDir, { recursive: true, force: true });
  });
  return state;
}

function agent(text = 'agent'): string {
  const path = join(folder(), 'agent');
  writeFileSync(path, text);
  return path;
}

const listInitramfs = (kernel: GuestKernel) =>
  spawnSync('busybox', ['cpio', '-t'], { input: readFileSync(kernel.initramfsPath) })
    .stdout.toString()
    .split('\n');

beforeAll(() => {
  expect(existsSync('/usr/bin/apt-get'), 'these tests fetch the kernel with apt').toBe(true);
});

test('the default kernel is fetched once, then found without apt', async () => {
  const state = stateDir();
  const agentPath = agent();
  expect(await openKernelStore({ stateDir: state, agentPath }).find()).toBeUndefined();
  const steps: string[] = [];
  const store = openKernelStore({ stateDir: state, agentPath });
  const [first, second] = await Promise.all([
    store.resolve({}, { onProgress: ({ step }) => steps.push(step) }),
    store.resolve(),
  ]);
  expect(second).toEqual(first);
  expect(steps[0]).toMatch(/^fetching linux-image-/);
  expect(readdirSync(state.tmpDir)).toEqual([]);

  const reopened = openKernelStore({ stateDir: state, agentPath });
  expect(await reopened.find()).toEqual(first);
  expect(await reopened.resolve()).toEqual(first);
  const files = listInitramfs(first);
  expect(files).toContain('init');
  expect(files).toContain('modules/order');
  expect(files).toContain('modules/virtio_blk.ko');

  const other = await openKernelStore({ stateDir: state, agentPath: agent('another agent') }).resolve();
  expect(other.kernelDigest).toBe(first.kernelDigest);
  expect(other.initramfsDigest).not.toBe(first.initramfsDigest);

  // Damaged bytes are not booted: the kernel is fetched again.
  writeFileSync(first.kernelPath, 'damaged');
  const damaged = openKernelStore({ stateDir: state, agentPath });
  expect(await damaged.find()).toBeUndefined();
  expect(await damaged.resolve()).toEqual(first);
});

test('a call that is cancelled leaves nothing behind', async () => {
  const state = stateDir();
  const abort = new AbortController();
  const call = openKernelStore({ stateDir: state, agentPath: agent() }).resolve(
    {},
    { signal: abort.signal, onProgress: () => abort.abort() },
  );
  await expect(call).rejects.toMatchObject({ code: 'Cancelled' });
  expect(readdirSync(state.tmpDir)).toEqual([]);
  expect(readdirSync(state.kernelsDir)).toEqual([]);
});

test('without package lists the error says how to get them', async () => {
  const lists = folder();
  const config = join(folder(), 'apt.conf');
  writeFileSync(
    config,
    `Dir::State::Lists "${lists}";\nDir::State::Status "/dev/null";\nDir::Cache "${folder()}";\n`,
  );
  process.env.APT_CONFIG = config;
  onTestFinished(() => {
    delete process.env.APT_CONFIG;
  });
  const error = await openKernelStore({ stateDir: stateDir(), agentPath: agent() })
    .resolve()
    .catch((thrown: unknown) => thrown);
  expect(isAlcoveError(error, 'KernelNotFound')).toBe(true);
  expect(error).toHaveProperty('remedy', expect.stringContaining('apt-get update'));
});

test('a missing agent is named', async () => {
  const state = stateDir();
  const kernelPath = bzImage('6.1.0-test');
  const agentPath = join(state.root, 'no-agent');
  await expect(openKernelStore({ stateDir: state, agentPath }).resolve({ kernelPath })).rejects.toMatchObject(
    {
      code: 'KernelNotFound',
      message: expect.stringContaining(agentPath),
    },
  );
});

test('a kernel by path is used as it is', async () => {
  const state = stateDir();
  const kernelPath = bzImage('6.12.3-custom+');
  const store = openKernelStore({ stateDir: state, agentPath: agent() });
  const kernel = await store.resolve({ kernelPath });
  expect(kernel).toMatchObject({ kernelPath, release: '6.12.3-custom+' });
  expect(listInitramfs(kernel)).toContain('init');
  const initramfsPath = agent('a whole initramfs');
  expect(await store.resolve({ kernelPath, initramfsPath })).toMatchObject({ initramfsPath });
});

const wrong: [
  what: string,
  request: (dir: string) => Parameters<ReturnType<typeof openKernelStore>['resolve']>[0],
  field: string,
][] = [
  ['no such kernel', (dir) => ({ kernelPath: join(dir, 'none') }), 'kernelPath'],
  ['a kernel that is no bzImage', () => ({ kernelPath: agent() }), 'kernelPath'],
  ['modules without a kernel', (dir) => ({ modulesDir: dir }), 'modulesDir'],
  [
    'no such modules folder',
    (dir) => ({ kernelPath: bzImage('6.1.0'), modulesDir: join(dir, 'none') }),
    'modulesDir',
  ],
  [
    'no such initramfs',
    (dir) => ({ kernelPath: bzImage('6.1.0'), initramfsPath: join(dir, 'none') }),
    'initramfsPath',
  ],
];

test.each(wrong)('%s is invalid input', async (_what, request, field) => {
  const state = stateDir();
  const call = openKernelStore({ stateDir: state, agentPath: agent() }).resolve(request(folder()));
  await expect(call).rejects.toMatchObject({ code: 'InvalidInput', details: { field } });
});

/** The parts of a bzImage that say its release. */
function bzImage(release: string): string {
  const data = Buffer.alloc(4096);
  data.write('HdrS', 0x202);
  data.writeUInt16LE(0x400, 0x20e);
  data.write(`${release} (someone@somewhere) #1 SMP\0`, 0x600);
  const path = join(folder(), 'vmlinuz');
  writeFileSync(path, data);
  return path;
}

test('files that were made elsewhere are found by their digest, as long as their bytes have it', async () => {
  const state = stateDir();
  const store = openKernelStore({ stateDir: state, agentPath: agent() });
  const staged = join(state.tmpDir, 'staged');
  writeFileSync(staged, 'a kernel');
  const digest = digestOf('a kernel');
  expect(await store.locate('kernel', digest)).toBeUndefined();
  const path = await store.adopt('kernel', digest, staged);
  expect(existsSync(staged)).toBe(false);
  expect(await store.locate('kernel', digest)).toBe(path);
  expect(await store.locate('initramfs', digest)).toBeUndefined();
  expect(await store.list()).toMatchObject([{ kind: 'kernel', digest, path }]);
  writeFileSync(path, 'another ');
  expect(await store.locate('kernel', digest)).toBeUndefined();
  const [file] = await store.list();
  if (file) await store.remove(file);
  expect(await store.list()).toEqual([]);
  expect(readdirSync(state.tmpDir)).toEqual([]);
});

test('all that is kept is listed, an initramfs with the time of its last use', async () => {
  const state = stateDir();
  let nowMs = 1_000_000;
  const clock = { ...systemClock, now: () => nowMs };
  const store = openKernelStore({ stateDir: state, agentPath: agent(), clock });
  const first = await store.resolve();
  nowMs += 60_000;
  const { kernelDigest, initramfsDigest, initramfsPath } = await store.resolve();
  const kept = await store.list();
  expect(kept).toMatchObject([
    { kind: 'initramfs', digest: initramfsDigest, path: initramfsPath, lastUsedMs: nowMs },
    { kind: 'kernel', digest: kernelDigest, path: join(state.kernelsDir, first.release) },
  ]);
  expect(await store.locate('kernel', kernelDigest)).toBe(first.kernelPath);
  for (const file of kept) await store.remove(file);
  expect(await store.find()).toBeUndefined();
});
