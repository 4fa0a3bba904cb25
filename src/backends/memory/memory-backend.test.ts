import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { GuestChannel } from '../../guest/index.ts';
import type { BackendVm, MachineShape } from '../../vm/backend.ts';
import { ManualClock, MemoryBackend } from './index.ts';

const shape: MachineShape = {
  cpus: 1,
  memoryMiB: 64,
  diskMiB: 64,
  network: 'none',
  kernel: { kernelPath: '', kernelDigest: '', initramfsPath: '', initramfsDigest: '', release: '' },
  bootArgs: [],
};
const identity = { hostname: 'vm', machineId: '0'.repeat(32) };

let root: string;
let clock: ManualClock;
let backend: MemoryBackend;
let vm: BackendVm;
let guest: GuestChannel;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'alcove-memory-'));
  clock = new ManualClock();
  backend = new MemoryBackend({ clock });
  vm = await made('vm');
  await vm.start(identity);
  guest = await vm.guest();
});
afterEach(() => rmSync(root, { recursive: true }));

function requestFor(id: string) {
  const dir = join(root, id);
  return { id, dir, shape, image: { digest: 'sha256:0', rootfsPath: '' } };
}

async function made(id: string): Promise<BackendVm> {
  const request = requestFor(id);
  mkdirSync(request.dir);
  return backend.create(request);
}

async function run(command: string, channel = guest) {
  await using process = await channel.exec({ command });
  const [stdout, stderr, exit] = await Promise.all([
    text(process.stdout),
    text(process.stderr),
    process.exited,
  ]);
  return { stdout, stderr, exitCode: exit.exitCode };
}

async function text(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  let all = '';
  for await (const chunk of bytes) all += Buffer.from(chunk).toString();
  return all;
}

async function* bytesOf(tar: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  for await (const chunk of tar) yield chunk as Uint8Array;
}

describe('scripts', () => {
  test('a description is played: output, files, exit code', async () => {
    backend.script('build', { stdout: ['a', 'b'], stderr: 'c', writes: { '/root/out': 'd' }, exitCode: 2 });
    expect(await run('build')).toEqual({ stdout: 'ab', stderr: 'c', exitCode: 2 });
    expect(await run('cat /root/out')).toMatchObject({ stdout: 'd' });
  });

  test('the latest script that fits is taken, by line, pattern or test', async () => {
    backend.script(/^build/, { stdout: 'pattern' });
    backend.script('build', { stdout: 'line' });
    backend.script(({ cwd }) => cwd === '/tmp', { stdout: 'test' });
    expect((await run('build all')).stdout).toBe('pattern');
    expect((await run('build')).stdout).toBe('line');
    await using process = await guest.exec({ command: ['build'], cwd: '/tmp' });
    expect(await text(process.stdout)).toBe('test');
  });

  test('a delay passes with the injected clock, and not while the machine is paused', async () => {
    backend.script('slow', { delayMs: 1000 });
    await using process = await guest.exec({ command: 'slow' });
    await clock.advance(600);
    await vm.pause?.();
    await clock.advance(10_000);
    await vm.resume?.();
    let ended = false;
    void process.exited.then(() => {
      ended = true;
    });
    await clock.advance(399);
    expect(ended).toBe(false);
    await clock.advance(1);
    expect(await process.exited).toMatchObject({ exitCode: 0, durationMs: 1000 });
  });

  test('what nobody scripted is not found', async () => {
    expect(await run('frobnicate now')).toEqual({
      stdout: '',
      stderr: 'sh: frobnicate: not found\n',
      exitCode: 127,
    });
    await expect(guest.exec({ command: ['frobnicate'] })).rejects.toMatchObject({
      code: 'CommandNotStarted',
    });
  });

  test('a mistake in a script is the caller’s to see', async () => {
    backend.script('broken', () => {
      throw new TypeError('typo');
    });
    await using process = await guest.exec({ command: 'broken' });
    await expect(process.exited).rejects.toThrow('typo');
  });

  test('nothing of a killed command comes later', async () => {
    const gate = Promise.withResolvers<void>();
    const after = Promise.withResolvers<unknown>();
    backend.script('late', async (run) => {
      await gate.promise;
      try {
        run.files.write('/root/late', 'late');
        after.resolve('written');
      } catch (error) {
        after.resolve(error);
      }
      return 0;
    });
    await using process = await guest.exec({ command: 'late' });
    await process.kill('SIGKILL');
    expect(await process.exited).toMatchObject({ exitCode: 137, signal: 'SIGKILL' });
    gate.resolve();
    expect(await after.promise).toBeInstanceOf(Error);
    await expect(guest.files.stat('/root/late')).rejects.toMatchObject({ details: { errno: 'ENOENT' } });
  });

  test('output that nobody reads holds the command up', async () => {
    let printed = 0;
    backend.script('flood', async (run) => {
      for (; printed < 100; printed++) await run.print(new Uint8Array(65_536));
      return 0;
    });
    await using process = await guest.exec({ command: 'flood' });
    await clock.advance(0);
    expect(printed).toBeLessThan(3);
    expect((await text(process.stdout)).length).toBe(100 * 65_536);
    expect(printed).toBe(100);
  });

  test('a terminal joins the streams and its lines end as a terminal’s do', async () => {
    backend.script('both', { stdout: 'out\n', stderr: 'err\n' });
    await using process = await guest.exec({ command: 'both', pty: { rows: 24, columns: 80 } });
    expect(await text(process.stdout)).toBe('out\r\nerr\r\n');
    expect(await text(process.stderr)).toBe('');
  });

  test('kept output of a detached command is bounded', async () => {
    backend.script('chatty', async (run) => {
      await run.print('a'.repeat(100_000));
      await run.print('b'.repeat(100_000));
      return 0;
    });
    await using started = await guest.exec({ command: 'chatty', detachedId: 'one' });
    await started[Symbol.asyncDispose]();
    await started.exited;
    const kept = await text((await guest.attach('one')).stdout);
    expect(kept.length).toBe(131_072);
    expect(kept.endsWith('b'.repeat(65_536))).toBe(true);
  });
});

describe('a sealed guest', () => {
  const renewal = {
    identity: { hostname: 'next', machineId: '1'.repeat(32) },
    unixMs: 0,
    entropy: new Uint8Array(32),
  };

  test('stands still and takes calls in, until it is thawed', async () => {
    backend.script('slow', { delayMs: 1_000 });
    await using process = await guest.exec({ command: 'slow' });
    await guest.freeze({ processes: 'freeze', maxMs: 60_000 });
    await clock.advance(5_000);
    let late = '';
    const running = run('echo late').then(({ stdout }) => {
      late = stdout;
    });
    const written = guest.files.write('/root/late', 'x');
    const given = new AbortController();
    const abandoned = guest.exec({ command: 'echo' }, { signal: given.signal });
    given.abort();
    await expect(abandoned).rejects.toMatchObject({ code: 'Cancelled' });
    await guest.ping();
    await clock.advance(0);
    expect(late).toBe('');
    await guest.thaw();
    await Promise.all([running, written]);
    expect(late).toBe('late\n');
    await clock.advance(1_000);
    expect(await process.exited).toMatchObject({ durationMs: 1_000 });
  });

  test('whose line was lost is renewed, not thawed', async () => {
    await guest.freeze({ processes: 'freeze', maxMs: 60_000 });
    const waiting = run('echo');
    await guest[Symbol.asyncDispose]();
    await expect(waiting).rejects.toMatchObject({ code: 'GuestUnreachable' });
    backend = await backend.restarted();
    const again = await (await backend.recover({ ...requestFor('vm'), handle: undefined })).guest();
    await expect(again.thaw()).rejects.toMatchObject({ code: 'InvalidInput', details: { field: 'thaw' } });
    const hostname = run('hostname', again);
    expect(await again.renew(renewal)).toEqual({ hooks: 'none' });
    expect((await hostname).stdout).toBe('next\n');
    await again.thaw();
    await backend.reap({ id: 'vm', dir: join(root, 'vm') });
  });

  test('goes on by itself after its time', async () => {
    await guest.freeze({ processes: 'freeze', maxMs: 1_000 });
    const running = run('echo on');
    await clock.advance(1_000);
    expect((await running).stdout).toBe('on\n');
  });

  test('of a machine that ends rejects what waits', async () => {
    await guest.freeze({ processes: 'freeze', maxMs: 1_000 });
    const running = run('echo');
    backend.dieByItself('vm', 'killed');
    await expect(running).rejects.toMatchObject({ code: 'GuestUnreachable' });
  });
});

describe('hooks', () => {
  const folder = '/etc/alcove/hooks/after-restore.d';
  const put = (name: string, mode = 0o755) => guest.files.write(`${folder}/${name}`, '', { mode });

  beforeEach(() => guest.files.mkdir(folder, { parents: true }));

  test('run as scripted, in the order of their names', async () => {
    const ran: string[] = [];
    backend.script(/after-restore\.d/, (hook) => {
      ran.push(`${hook.line.slice(folder.length + 1)} ${hook.env.ALCOVE_HOOK} ${hook.cwd}`);
      return 0;
    });
    for (const name of ['b', 'a', '.hidden', 'a~']) await put(name);
    await put('plain', 0o644);
    await guest.runHooks('before-snapshot');
    await guest.runHooks('after-restore');
    expect(ran).toEqual(['a after-restore /', 'b after-restore /']);
    const entropy = new Uint8Array(32);
    expect(await guest.renew({ identity, unixMs: 0, entropy })).toEqual({ hooks: 'some' });
  });

  test('one that fails, hangs or is no program ends the row', async () => {
    for (const name of ['1', '2']) await put(name);
    backend.script(`${folder}/2`, () => expect.unreachable());
    const failure = async (message: RegExp) => {
      const error = await guest.runHooks('after-restore', { timeoutMs: 1_000 }).catch((e) => e);
      expect(error).toMatchObject({ code: 'GuestHookFailed', message: expect.stringMatching(message) });
      return error.details;
    };
    await failure(/1 cannot start/);
    backend.script(`${folder}/1`, { stdout: 'out\n', exitCode: 3 });
    expect(await failure(/1 ended with exit code 3/)).toEqual({ hook: `${folder}/1`, output: 'out\n' });
    backend.script(`${folder}/1`, { hang: 'until-killed' });
    const late = failure(/1 was not done 1000 ms/);
    await clock.advance(1_000);
    await late;
  });
});

describe('content', () => {
  test.for([
    ['exclude', 'none', 1],
    ['include', 'yes\n', 0],
  ] as const)('a snapshot with memory: %s has what it says', async ([memory, remembered]) => {
    await run('write /root/a one');
    await run('remember it yes');
    const dir = join(root, 'snapshot');
    mkdirSync(dir);
    const manifest = await vm.snapshot({ dir, memory });
    await run('write /root/a two');
    await run('remember it no');
    mkdirSync(join(root, 'copy'));
    const copy = await backend.restore({
      ...requestFor('copy'),
      snapshot: { dir, manifest, ancestors: [] },
      memory: 'include',
    });
    expect(await copy.observe()).toBe(memory === 'include' ? 'suspended' : 'off');
    await copy.start(identity);
    const channel = await copy.guest();
    expect((await run('cat /root/a', channel)).stdout).toBe('one');
    expect((await run('recall it', channel)).stdout || 'none').toBe(remembered);
    await copy.destroy();
  });

  test('what was not synced is gone when the machine dies, and what was is not', async () => {
    await run('write /root/a synced');
    await run('sync');
    await run('write /root/a lost');
    const reasons: string[] = [];
    vm.onExit((reason) => reasons.push(reason));
    backend.dieByItself('vm', 'killed');
    expect(reasons).toEqual(['killed']);
    expect(await vm.observe()).toBe('off');
    await vm.start(identity);
    expect((await run('cat /root/a', await vm.guest())).stdout).toBe('synced');
  });

  test('a stop keeps memory when asked, once', async () => {
    await run('count');
    await vm.stop({ graceMs: 0, memory: true });
    expect(await vm.observe()).toBe('suspended');
    await vm.start(identity);
    expect((await run('count', await vm.guest())).stdout).toBe('2\n');
    await vm.stop({ graceMs: 0 });
    await vm.start(identity);
    expect((await run('count', await vm.guest())).stdout).toBe('1\n');
  });
});

describe('faults', () => {
  test('a call fails at the point, so many times, on that VM', async () => {
    const other = await made('other');
    backend.fail('pause.begin', new Error('no'), { vm: 'vm', times: 2 });
    for (let time = 0; time < 2; time++) await expect(vm.pause?.()).rejects.toThrow('no');
    await vm.pause?.();
    expect(await vm.observe()).toBe('paused');
    expect(await other.observe()).toBe('off');
  });

  test('a call hangs until it is released or given up', async () => {
    const hung = backend.hang('pause.middle');
    const pausing = vm.pause?.();
    await hung.reached;
    expect(await vm.observe()).toBe('running');
    hung.release();
    await pausing;
    expect(await vm.observe()).toBe('paused');
    backend.hang('resume.middle');
    const controller = new AbortController();
    const resuming = vm.resume?.({ signal: controller.signal });
    controller.abort();
    await expect(resuming).rejects.toMatchObject({ code: 'Cancelled' });
    expect(await vm.observe()).toBe('paused');
  });

  test('with the power everything goes but what was synced', async () => {
    await run('write /root/a kept');
    await run('sync');
    await run('write /root/a lost');
    const dir = join(root, 'snapshot');
    mkdirSync(dir);
    backend.losePower('snapshot.begin');
    let returned = false;
    void vm.snapshot({ dir, memory: 'include' }).finally(() => {
      returned = true;
    });
    await clock.advance(0);
    expect(backend.running).toEqual([]);
    backend = await backend.restarted();
    const again = await backend.recover({ ...requestFor('vm'), handle: vm.handle });
    expect(await again.observe()).toBe('off');
    await again.start(identity);
    expect((await run('cat /root/a', await again.guest())).stdout).toBe('kept');
    expect(returned).toBe(false);
  });

  test('machines outlive the backend that started them, and the old one hears of nothing', async () => {
    vm.onExit(() => expect.unreachable());
    await run('count');
    backend = await backend.restarted();
    const again = await backend.recover({ ...requestFor('vm'), handle: undefined });
    expect(await again.observe()).toBe('running');
    expect((await run('count', await again.guest())).stdout).toBe('2\n');
    backend.dieByItself('vm', 'killed');
  });

  test('a machine is found and ended by its directory alone', async () => {
    await backend.reap({ id: 'vm', dir: join(root, 'vm') });
    await backend.reap({ id: 'vm', dir: join(root, 'vm') });
    expect(backend.running).toEqual([]);
  });
});

test('the log says what was asked, in order', async () => {
  await run('echo hi');
  await guest.files.write('/root/a', 'x');
  await vm.stop({ graceMs: 0, memory: true });
  expect(backend.log).toEqual([
    { vm: 'vm', call: 'create' },
    { vm: 'vm', call: 'start' },
    { vm: 'vm', call: 'exec', about: 'echo hi' },
    { vm: 'vm', call: 'write', about: '/root/a' },
    { vm: 'vm', call: 'stop', about: 'memory' },
  ]);
});

describe('files', () => {
  test('an archive that would leave its place is refused', async () => {
    const { pack } = await import('tar-stream');
    for (const [name, link] of [['../out'], ['/out'], ['link', '/etc']] as const) {
      const tar = pack();
      if (link) {
        tar.entry({ name, type: 'symlink', linkname: link });
        tar.entry({ name: `${name}/out` }, 'x');
      } else tar.entry({ name }, 'x');
      tar.finalize();
      await expect(guest.files.tarIn('/root/place', bytesOf(tar))).rejects.toMatchObject({
        code: 'InvalidInput',
      });
    }
    for (const path of ['/out', '/root/out', '/etc/out'])
      await expect(guest.files.stat(path)).rejects.toMatchObject({ details: { errno: 'ENOENT' } });
  });

  test('symlinks are followed where a kernel follows them, and circles are not endless', async () => {
    const { pack } = await import('tar-stream');
    const tar = pack();
    tar.entry({ name: 'loop', type: 'symlink', linkname: 'loop' });
    tar.entry({ name: 'link', type: 'symlink', linkname: 'file' });
    tar.entry({ name: 'file' }, 'x');
    tar.finalize();
    await guest.files.tarIn('/root/links', bytesOf(tar));
    expect(await text(guest.files.read('/root/links/link'))).toBe('x');
    expect(await guest.files.stat('/root/links/link')).toMatchObject({ kind: 'symlink', target: 'file' });
    await expect(text(guest.files.read('/root/links/loop'))).rejects.toMatchObject({
      details: { errno: 'ELOOP' },
    });
  });

  test('a folder tells of its changes until the watching ends', async () => {
    await guest.files.mkdir('/root/dir');
    const changes = guest.files.watch('/root/dir')[Symbol.asyncIterator]();
    const first = changes.next();
    await guest.files.write('/root/dir/a', 'x');
    expect(await first).toEqual({ done: false, value: { path: '/root/dir/a', kind: 'created' } });
    await guest.files.write('/root/elsewhere', 'x');
    await guest.files.remove('/root/dir/a');
    expect(await changes.next()).toEqual({ done: false, value: { path: '/root/dir/a', kind: 'removed' } });
    await changes.return?.();
  });
});
