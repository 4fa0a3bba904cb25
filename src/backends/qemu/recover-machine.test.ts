import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Clock, identifyProcess, systemClock } from '../../host/index.ts';
import { createQemuBackend } from './index.ts';
import { writeRunRecord } from './run-record.ts';
import { type MachinePlaces, machinePlaces, type VmPlaces, vmPlaces } from './vm-places.ts';
import { writeVmRecord } from './vm-record.ts';

/** Deadlines are over 50 times as fast. */
const hurried: Clock = {
  ...systemClock,
  monotonic: () => systemClock.monotonic() * 50,
  sleep: (ms, signal) => systemClock.sleep(ms / 50, signal),
  timer: (ms, callback) => systemClock.timer(ms / 50, callback),
};

let stateDir: { root: string; runtimeDir: string; templatesDir: string; tmpDir: string };
let vm: VmPlaces;
let places: MachinePlaces;
let process_: ChildProcess;
const servers: Server[] = [];
const sockets = new Set<Socket>();

/** A process that bears the name of a VM that was set up, and no more than that: its sockets are opened by the tests. */
beforeEach(async () => {
  const root = mkdtempSync(join(tmpdir(), 'alcove-recover-'));
  stateDir = { root, runtimeDir: join(root, 'run'), templatesDir: root, tmpDir: root };
  const dir = join(root, 'vm');
  vm = vmPlaces('vm', dir);
  places = machinePlaces(stateDir, 'vm', vm.machineDir);
  mkdirSync(vm.disk, { recursive: true });
  mkdirSync(places.jail, { recursive: true });
  mkdirSync(places.socketDir, { recursive: true });
  process_ = spawn(
    process.execPath,
    [
      '-e',
      'console.log(); setInterval(() => {}, 1000)',
      '--',
      'qemu',
      '-name',
      `guest=${places.processName}`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  if (process_.stdout) await once(process_.stdout, 'data');
  const disk = {
    virtualBytes: 1 << 20,
    layers: [
      { file: '0.qcow2', digest: null },
      { file: '1.qcow2', digest: null },
    ],
    top: 2,
    content: 'changed',
  } as const;
  await writeVmRecord(vm.recordPath, {
    version: 2,
    mac: '52:54:00:00:00:01',
    disk: { ...disk, layers: [...disk.layers] },
    memory: null,
  });
  writeRunRecord(places.runPath, {
    version: 2,
    name: 'vm',
    phase: 'ready',
    process: identifyProcess(process_.pid ?? 0) ?? null,
    uid: null,
    facts: {},
    identity: null,
    lastLayer: null,
    sealed: false,
    cgroups: [],
    confinement: {},
  });
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
  process_.kill('SIGKILL');
  rmSync(stateDir.root, { recursive: true });
});

const recover = () => {
  const kernel = { release: '', kernelPath: '', kernelDigest: '', initramfsPath: '', initramfsDigest: '' };
  const shape = { cpus: 1, memoryMiB: 256, diskMiB: 1, network: 'none', kernel, bootArgs: [] } as const;
  const image = { digest: 'sha256:0', rootfsPath: '' };
  const backend = createQemuBackend({ stateDir, clock: hurried });
  return backend.recover({ id: 'vm', dir: vm.dir, shape, image, handle: undefined });
};

/** A monitor that answers what it is told to, and is silent on the rest. Like QEMU's, it hears one client at a time. */
function monitor(answers: Record<string, unknown>): void {
  writeFileSync(places.agentSocket, '');
  let client: Socket | undefined;
  const serve = (socket: Socket) => {
    if (client && !client.destroyed) return;
    client = socket;
    socket.write('{"QMP":{}}\n');
    socket.on('data', (data) => {
      for (const line of data.toString().trim().split('\n')) {
        const { execute, id } = JSON.parse(line);
        if (execute in answers) socket.write(`${JSON.stringify({ return: answers[execute], id })}\n`);
      }
    });
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    serve(socket);
  });
  servers.push(server.listen(places.qmpSocket));
}

/** Answers of a machine that is well. */
const well = {
  qmp_capabilities: {},
  'query-status': { status: 'running' },
  'query-block': [{ qdev: 'disk0', inserted: { 'node-name': 'layer-2' } }],
  'ringbuf-read': '',
};

const lives = () => process_.exitCode === null && process_.signalCode === null;

describe('a machine that is looked for after a restart', () => {
  it.each<[string, Record<string, unknown>]>([
    ['does not let anybody in', {}],
    ['does not say how it is', { qmp_capabilities: {} }],
  ])('runs on when it %s, and is found once it answers', async (_, answers) => {
    const now = { ...answers };
    monitor(now);
    await expect(recover()).rejects.toMatchObject({
      code: 'VmFailed',
      message: expect.stringContaining('does not answer'),
    });
    expect(lives()).toBe(true);
    Object.assign(now, well);
    const vm = await recover();
    expect(await vm.observe()).toBe('running');
    await vm.release();
  });

  it('lets go of the monitor when it cannot be agreed on its disk', async () => {
    const now: Record<string, unknown> = { ...well, 'query-block': 'nonsense' };
    monitor(now);
    await expect(recover()).rejects.toMatchObject({ code: 'VmFailed' });
    expect(lives()).toBe(true);
    Object.assign(now, well);
    const vm = await recover();
    expect(await vm.observe()).toBe('running');
    await vm.release();
  });

  it('is not off when it falls silent, but when its process has ended; and can be stopped all the same', async () => {
    const now: Record<string, unknown> = { ...well };
    monitor(now);
    const vm = await recover();
    delete now['query-status'];
    await expect(vm.observe()).rejects.toMatchObject({ code: 'VmFailed' });
    expect(lives()).toBe(true);
    Object.assign(now, well);
    expect(await vm.observe()).toBe('running');
    delete now['query-status'];
    await vm.stop({ graceMs: 100 });
    expect(await vm.observe()).toBe('off');
    await expect.poll(lives).toBe(false);
  });

  it('is off when its process ends while it is asked', async () => {
    const now: Record<string, unknown> = { ...well };
    monitor(now);
    const vm = await recover();
    delete now['query-status'];
    const asking = vm.observe();
    process_.kill('SIGKILL');
    expect(await asking).toBe('off');
    await vm.destroy();
  });

  it('is ended when nobody can connect to it any more', async () => {
    const vm = await recover();
    expect(await vm.observe()).toBe('off');
    await expect.poll(lives).toBe(false);
  });

  it('can be ended without its monitor, its disk kept', async () => {
    monitor({});
    writeFileSync(join(places.jail, '2.qcow2'), 'kept');
    await createQemuBackend({ stateDir, clock: hurried }).reap({ id: 'vm', dir: places.dir });
    await expect.poll(lives).toBe(false);
    const vm = await recover();
    expect(await vm.observe()).toBe('off');
  });
});
