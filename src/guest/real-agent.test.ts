/** The host's end against the real agent, which runs as an ordinary process on this host. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { RealAgent } from '../../test/guest/real-agent.ts';
import type { ExecRequest, GuestChannel, GuestProcess } from './guest-channel.ts';
import { runCommand } from './run-command.ts';

let agent: RealAgent;
let guest: GuestChannel;

beforeAll(() => {
  agent = new RealAgent();
});

afterAll(() => agent[Symbol.asyncDispose]());

beforeEach(async () => {
  guest = await agent.connect('stale');
});

afterEach(() => guest[Symbol.asyncDispose]());

const failure = (code: string, details?: object) =>
  expect.objectContaining({ code, ...(details && { details: expect.objectContaining(details) }) });

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Resolves with the first bytes a stream brings; the rest stays in it. */
async function firstOf(stream: AsyncIterator<Uint8Array>): Promise<string> {
  const { value, done } = await stream.next();
  if (done) throw new Error('the output ended');
  return String(value);
}

/** Reads a terminal's output as long as it comes, and lets a test wait for a text in it. */
function watchScreen({ stdout }: GuestProcess) {
  const screen = {
    text: '',
    shows: (text: string) => vi.waitFor(() => expect(screen.text).toContain(text), { timeout: 10_000 }),
  };
  const read = async () => {
    for await (const chunk of stdout) screen.text += Buffer.from(chunk).toString();
  };
  read().catch(() => undefined); // Ends with the command, or when it is let go of.
  return screen;
}

const alive = (pid: number) => existsSync(`/proc/${pid}/exe`);

describe('commands', () => {
  test.each<[string, ExecRequest, Partial<Awaited<ReturnType<typeof runCommand>>>]>([
    [
      'its output apart',
      { command: 'echo out; echo err >&2' },
      { stdout: 'out\n', stderr: 'err\n', exitCode: 0 },
    ],
    ['its exit code', { command: ['sh', '-c', 'exit 7'] }, { exitCode: 7 }],
    ['the signal that ended it', { command: 'kill -9 $$' }, { exitCode: 137, signal: 'SIGKILL' }],
    ['arguments as they are', { command: ['printf', '%s|', 'a b', '', '$x', 'ü'] }, { stdout: 'a b||$x|ü|' }],
    ['its environment', { command: 'echo $A-$B', env: { A: '1', B: 'x=y' } }, { stdout: '1-x=y\n' }],
    ['its directory', { command: ['pwd'], cwd: '/usr' }, { stdout: '/usr\n' }],
  ])('have %s', async (_name, request, expected) => {
    expect(await runCommand(guest, request)).toMatchObject({ truncated: false, ...expected });
  });

  test.each<[string, ExecRequest, string]>([
    ['program', { command: ['/no/such/program'] }, 'ENOENT'],
    ['directory', { command: ['true'], cwd: '/no/such/directory' }, 'ENOENT'],
    ['permission', { command: ['/etc/passwd'] }, 'EACCES'],
  ])('without a %s do not start', async (_name, request, errno) => {
    await expect(guest.exec(request)).rejects.toThrow(failure('CommandNotStarted', { errno }));
  });

  test('read what they are given', async () => {
    async function* input() {
      for (let i = 0; i < 100; i++) yield Buffer.alloc(100_000, 'x');
    }
    expect(await runCommand(guest, { command: ['wc', '-c'], input: input() })).toMatchObject({
      stdout: '10000000\n',
    });
    expect(await runCommand(guest, { command: ['cat'], input: 'grüße' })).toMatchObject({ stdout: 'grüße' });
    expect(await runCommand(guest, { command: ['cat'] })).toMatchObject({ stdout: '' });
  });

  test('that do not read their input end all the same', async () => {
    async function* endless() {
      for (;;) yield Buffer.alloc(65_536);
    }
    expect(await runCommand(guest, { command: ['true'], input: endless() })).toMatchObject({ exitCode: 0 });
    expect(await runCommand(guest, { command: ['head', '-c1'], input: endless() })).toMatchObject({
      exitCode: 0,
    });
  });

  test('print any amount, of which head and tail are kept', async () => {
    const { stdout, droppedBytes, truncated } = await runCommand(guest, {
      command: 'echo first; head -c 20000000 /dev/zero | tr "\\0" x; echo; echo last',
      maxOutputBytes: 1_000,
    });
    expect(stdout).toMatch(/^first\nx+\n… \d+ bytes left out …\nx+\nlast\n$/);
    expect({ droppedBytes, truncated }).toEqual({ droppedBytes: 20_000_012 - 1_000, truncated: true });
  });

  test('hundreds at once do not mix', async () => {
    const runs = Array.from({ length: 200 }, (_, i) => runCommand(guest, { command: ['echo', String(i)] }));
    const outputs = (await Promise.all(runs)).map(({ stdout }) => stdout);
    expect(outputs).toEqual(runs.map((_, i) => `${i}\n`));
  });

  test('on a terminal see its size, and its changes', async () => {
    await using process = await guest.exec({
      command: 'stty size; trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.01; done',
      pty: { rows: 24, columns: 80 },
    });
    const output = process.stdout[Symbol.asyncIterator]();
    let text = '';
    while (!text.includes('ready')) text += await firstOf(output);
    expect(text).toContain('24 80');
    await process.resize({ rows: 50, columns: 132 });
    for (let next = await output.next(); !next.done; next = await output.next()) text += String(next.value);
    expect(text).toContain('50 132');
    expect(await process.exited).toMatchObject({ exitCode: 0 });
  });

  test('get signals', async () => {
    await using process = await guest.exec({
      command: 'trap "echo caught; exit 5" USR1; echo ready; while :; do sleep 0.01; done',
    });
    const output = process.stdout[Symbol.asyncIterator]();
    expect(await firstOf(output)).toBe('ready\n');
    await process.kill('SIGUSR1');
    expect(await firstOf(output)).toContain('caught');
    // The signal went to the whole tree, and the shell's own exit says that it was handled.
    expect(await process.exited).toMatchObject({ exitCode: 5 });
  });
});

describe('a command that is ended', () => {
  /** Prints the pid of a grandchild that has left its session, then hangs. */
  const withDaemon = 'setsid sleep 1000 & echo $!; sleep 1000';

  test('by its deadline leaves nothing alive, and says what it printed', async () => {
    const error = await runCommand(guest, { command: withDaemon, timeoutMs: 200, graceMs: 100 }).catch(
      (e) => e,
    );
    expect(error).toMatchObject({ code: 'CommandTimedOut', details: { timeoutMs: 200 } });
    const pid = Number(String(error.details.stdout));
    expect(pid).toBeGreaterThan(1);
    expect(alive(pid)).toBe(false);
  });

  test('by an abort leaves nothing alive', async () => {
    const controller = new AbortController();
    let pid = 0;
    const run = runCommand(guest, {
      command: withDaemon,
      signal: controller.signal,
      onStdout(chunk) {
        pid = Number(String(chunk));
        controller.abort();
      },
    });
    await expect(run).rejects.toThrow(failure('Cancelled'));
    expect(pid).toBeGreaterThan(1);
    expect(alive(pid)).toBe(false);
  });

  test('by a sink that fails leaves nothing alive, and the sink has the last word', async () => {
    let pid = 0;
    const broken = new Error('the client hung up');
    const run = runCommand(guest, {
      command: withDaemon,
      onStdout(chunk) {
        pid = Number(String(chunk));
        throw broken;
      },
    });
    await expect(run).rejects.toBe(broken);
    expect(alive(pid)).toBe(false);
  });

  test('because the host went away leaves nothing alive', async () => {
    const process = await guest.exec({ command: withDaemon });
    const pid = Number(await firstOf(process.stdout[Symbol.asyncIterator]()));
    await guest[Symbol.asyncDispose]();
    guest = await agent.connect('stale');
    expect(alive(pid)).toBe(false);
  });
});

describe('a detached command', () => {
  test('goes on without a client, and its exit is told to whoever attaches', async () => {
    const id = 'detached-1';
    const started = await guest.exec({
      command: 'echo one; read x; echo $x; exit 4',
      stdin: 'pipe',
      detachedId: id,
    });
    expect(await firstOf(started.stdout[Symbol.asyncIterator]())).toBe('one\n');
    await guest[Symbol.asyncDispose]();
    guest = await agent.connect('stale');
    const listed = await guest.listDetached();
    expect(listed).toContainEqual({ id, pid: started.pid });
    const attached = await guest.attach(id);
    await attached.stdin.write(Buffer.from('two\n'));
    expect(await readAll(attached.stdout)).toContain('two\n');
    expect(await attached.exited).toMatchObject({ exitCode: 4 });
    expect(await guest.listDetached()).toContainEqual(
      expect.objectContaining({ id, exit: expect.objectContaining({ exitCode: 4 }) }),
    );
  });

  test('on a terminal shows its screen again to whoever attaches, takes their keys and their size, one client after the other', async () => {
    const id = 'terminal-1';
    const script = 'a=kept; while read x; do echo "$x $a $(stty size)"; done; exit 6';
    const pty = { rows: 24, columns: 80 };
    const started = await guest.exec({ command: script, pty, stdin: 'pipe', detachedId: id });
    const first = watchScreen(started);
    await started.stdin.write(Buffer.from('one\n'));
    await first.shows('one kept 24 80');
    const second = await guest.attach(id);
    const screen = watchScreen(second);
    await expect(started.exited).rejects.toThrow(failure('Cancelled'));
    await screen.shows('one kept 24 80');
    await second.resize({ rows: 30, columns: 100 });
    await second.stdin.write(Buffer.from('two\n'));
    await screen.shows('two kept 30 100');
    await second[Symbol.asyncDispose]();
    await guest[Symbol.asyncDispose]();
    guest = await agent.connect('stale');
    const third = await guest.attach(id);
    const last = watchScreen(third);
    await last.shows('two kept 30 100');
    expect(last.text).toMatch(/^one\r\none kept 24 80\r\ntwo\r\ntwo kept/);
    await third.stdin.end();
    expect(await third.exited).toMatchObject({ exitCode: 6 });
  });

  test('that nobody knows is not found', async () => {
    await expect(guest.attach('nobody')).rejects.toThrow(failure('CommandNotFound'));
  });
});

describe('files', () => {
  let path: string;

  beforeEach(() => {
    path = join(agent.dir, 'f');
  });

  test('are written whole and read back, in part too', async () => {
    const bytes = Buffer.from(Array.from({ length: 1_000_000 }, (_, i) => i % 251));
    await guest.files.write(path, bytes, { mode: 0o640 });
    expect(statSync(path).mode & 0o777).toBe(0o640);
    expect(readFileSync(path).equals(bytes)).toBe(true);
    const chunks: Uint8Array[] = [];
    for await (const chunk of guest.files.read(path)) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
    expect(await readAll(guest.files.read(path, { offset: 500_000, length: 3 }))).toBe(
      bytes.subarray(500_000, 500_003).toString(),
    );
  });

  test('are added to', async () => {
    await guest.files.write(path, 'one');
    await guest.files.write(path, 'two', { append: true });
    expect(await readAll(guest.files.read(path))).toBe('onetwo');
  });

  test('keep what they held when the source of a write fails', async () => {
    await guest.files.write(path, 'old');
    async function* broken() {
      yield Buffer.from('new');
      throw new Error('the source broke');
    }
    await expect(guest.files.write(path, broken())).rejects.toThrow('the source broke');
    expect(await readAll(guest.files.read(path))).toBe('old');
  });

  test('are looked at, listed, renamed and removed', async () => {
    const dir = join(agent.dir, 'made/deep');
    await guest.files.mkdir(dir, { parents: true });
    await guest.files.write(`${dir}/b`, 'text', { mode: 0o600 });
    symlinkSync('b', join(dir, 'a'));
    const listed = [];
    for await (const entry of guest.files.list(dir)) listed.push(entry);
    expect(listed).toMatchObject([
      { path: `${dir}/a`, kind: 'symlink', target: 'b' },
      { path: `${dir}/b`, kind: 'file', size: 4, mode: 0o600 },
    ]);
    expect(listed[1]).toEqual(await guest.files.stat(`${dir}/b`));
    expect(listed[1]?.mtimeMs).toBeCloseTo(statSync(join(dir, 'b')).mtimeMs, 2);
    await guest.files.rename(`${dir}/b`, `${dir}/c`);
    await expect(guest.files.stat(`${dir}/b`)).rejects.toThrow(failure('GuestFile', { errno: 'ENOENT' }));
    await expect(guest.files.remove(dir)).rejects.toThrow(
      failure('GuestFile', { errno: 'ENOTEMPTY', path: dir }),
    );
    await guest.files.remove(dir, { recursive: true });
    expect(existsSync(dir)).toBe(false);
  });

  test('that are missing are typed errors, from streams too', async () => {
    const missing = '/no/such/file';
    await expect(readAll(guest.files.read(missing))).rejects.toThrow(
      failure('GuestFile', { errno: 'ENOENT', path: missing }),
    );
    await expect(guest.files.write(missing, 'x')).rejects.toThrow(failure('GuestFile', { errno: 'ENOENT' }));
    await expect(readAll(guest.files.tarOut(missing))).rejects.toThrow(
      failure('GuestFile', { errno: 'ENOENT' }),
    );
    await expect(guest.files.stat('relative')).rejects.toThrow(failure('InvalidInput', { field: 'path' }));
  });

  test('that change are told of, until the reader leaves', async () => {
    const dir = join(agent.dir, 'watched');
    mkdirSync(dir);
    const changes = guest.files.watch(dir)[Symbol.asyncIterator]();
    const first = changes.next();
    await guest.ping(); // The agent has taken the request before this one.
    writeFileSync(join(dir, 'f'), 'x');
    expect((await first).value).toMatchObject({ path: `${dir}/f` });
    await changes.return?.();
  });

  test('go as a tar both ways', async () => {
    const from = join(agent.dir, 'tar-from');
    const to = join(agent.dir, 'tar-to');
    mkdirSync(join(from, 'd'), { recursive: true });
    writeFileSync(join(from, 'd/f'), 'text', { mode: 0o751 });
    symlinkSync('d/f', join(from, 'l'));
    await guest.files.tarIn(to, guest.files.tarOut(from));
    expect(readFileSync(join(to, 'l'), 'utf8')).toBe('text');
    expect(statSync(join(to, 'd/f')).mode & 0o777).toBe(0o751);
  });

  test('a damaged tar is refused', async () => {
    async function* damaged() {
      yield Buffer.alloc(1_024, 'x');
    }
    await expect(guest.files.tarIn(join(agent.dir, 'damaged'), damaged())).rejects.toThrow(
      failure('InvalidInput', { field: 'tar' }),
    );
  });
});

describe('connections', () => {
  test('to a port of the guest carry bytes both ways, and each end by itself', async () => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('data', (chunk) => socket.write(chunk.toString().toUpperCase()));
      socket.on('end', () => socket.end('.'));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    await using connection = await guest.dial(port);
    await connection.writable.write(Buffer.from('hello'));
    await connection.writable.end();
    expect(await readAll(connection.readable)).toBe('HELLO.');
    await new Promise((resolve) => server.close(resolve));
    await expect(guest.dial(port)).rejects.toThrow(failure('GuestFile', { errno: 'ECONNREFUSED' }));
  });
});

describe('a sealed guest', () => {
  const renewal = () => ({
    identity: { hostname: 'box', machineId: '0123456789abcdef0123456789abcdef' },
    unixMs: Date.now(),
    entropy: Buffer.alloc(32, 1),
    network: {
      address: '10.0.2.15/24',
      gateway: '10.0.2.2',
      dns: ['10.0.2.3'],
      mac: '52:54:00:12:34:56',
    },
  });

  // A test that failed must not leave the next one waiting.
  afterEach(() => guest.renew(renewal()));

  test('takes requests in with what belongs to them, and serves them once it is thawed', async () => {
    await guest.freeze({ processes: 'freeze' });
    const order: string[] = [];
    const note = (name: string) => () => void order.push(name);
    const path = join(agent.dir, 'late');
    const late = [
      runCommand(guest, { command: 'cat', input: 'late' }).then(({ stdout }) => order.push(stdout)),
      guest.files.write(path, Buffer.alloc(1_000_000, 'x')).then(note('written')),
      guest.attach('nobody').catch(({ code }) => order.push(code)),
    ];
    await guest.ping();
    await guest.usage();
    await guest.setClock(Date.now());
    await guest.addEntropy(Buffer.alloc(32, 1));
    await guest.freeze();
    expect([order, existsSync(path)]).toEqual([[], false]);
    await guest.thaw();
    await Promise.all(late);
    expect(order.sort()).toEqual(['CommandNotFound', 'late', 'written']);
    expect(statSync(path).size).toBe(1_000_000);
  });

  test('lets go of what is given up meanwhile', async () => {
    await guest.freeze({ processes: 'freeze' });
    const controller = new AbortController();
    const given = guest.exec({ command: ['true'], detachedId: 'given-up' }, { signal: controller.signal });
    await guest.ping();
    controller.abort();
    await expect(given).rejects.toThrow(failure('Cancelled'));
    await guest.thaw();
    expect((await guest.listDetached()).map(({ id }) => id)).not.toContain('given-up');
  });

  test('whose line was lost is renewed, not thawed', async () => {
    await guest.freeze({ processes: 'freeze' });
    const dropped = join(agent.dir, 'dropped');
    const held = guest.exec({ command: ['touch', dropped] });
    held.catch(() => {}); // Looked at below.
    await guest.ping();
    await guest[Symbol.asyncDispose]();
    await expect(held).rejects.toThrow(failure('GuestUnreachable'));
    guest = await agent.connect('stale');
    await expect(guest.thaw()).rejects.toThrow(failure('InvalidInput', { field: 'thaw' }));
    let answered = false;
    const waiting = runCommand(guest, { command: ['echo', 'here'] }).finally(() => {
      answered = true;
    });
    await expect(guest.thaw()).rejects.toThrow(failure('InvalidInput'));
    expect(answered).toBe(false);
    expect(await guest.renew(renewal())).toEqual({ hooks: 'none' });
    expect(await waiting).toMatchObject({ stdout: 'here\n' });
    expect(existsSync(dropped)).toBe(false);
    await guest.thaw();
  });

  test('that was only frozen is anybody’s to thaw', async () => {
    await guest.freeze();
    await guest[Symbol.asyncDispose]();
    guest = await agent.connect('stale');
    await guest.thaw();
  });

  test('goes on by itself in the end', async () => {
    await guest.freeze({ processes: 'freeze', maxMs: 20 });
    expect(await runCommand(guest, { command: ['echo', 'on'] })).toMatchObject({ stdout: 'on\n' });
  });

  test.each([
    ['hostname', { identity: { hostname: '', machineId: '0'.repeat(32) } }, /HOSTNAME/],
    ['entropy', { entropy: Buffer.alloc(8) }, /ENTROPY/],
    [
      'mac',
      { network: { address: '10.0.2.15/24', gateway: '10.0.2.2', dns: [], mac: '01:00:00:00:00:00' } },
      /MAC/,
    ],
  ])('stays sealed by a renewal whose %s is none', async (_name, wrong, message) => {
    await guest.freeze({ processes: 'freeze' });
    await guest[Symbol.asyncDispose]();
    guest = await agent.connect('stale');
    const error = await guest.renew({ ...renewal(), ...wrong }).catch((e) => e);
    expect(error).toMatchObject({ code: 'InvalidInput', message: expect.stringMatching(message) });
    await expect(guest.thaw()).rejects.toThrow(failure('InvalidInput'));
  });
});

describe('hooks', () => {
  let dir: string;

  beforeEach(() => {
    dir = join(agent.hooksDir, 'before-snapshot.d');
    mkdirSync(dir, { recursive: true });
  });
  afterEach(() => rmSync(agent.hooksDir, { recursive: true }));

  const hook = (name: string, body: string, mode = 0o755) =>
    writeFileSync(join(dir, name), `#!/bin/sh\n${body}\n`, { mode });

  test('run one after the other in the order of their names, those for the event alone', async () => {
    const log = join(agent.dir, 'hooks.log');
    for (const name of ['b', 'a', 'B', '.a', 'a~', 'c d'])
      hook(name, `echo "${name} $ALCOVE_HOOK $(pwd)" >> ${log}`);
    hook('plain', `echo plain >> ${log}`, 0o644);
    await guest.runHooks('after-snapshot');
    expect(existsSync(log)).toBe(false);
    await guest.runHooks('before-snapshot');
    expect(readFileSync(log, 'utf8')).toBe(
      ['B', 'a', 'b', 'c d'].map((name) => `${name} before-snapshot /\n`).join(''),
    );
  });

  test('one that fails says what it printed last, and ends the row', async () => {
    hook('1', 'yes out | head -c 100000; echo the reason >&2; exit 4');
    hook('2', `touch ${join(agent.dir, 'second')}`);
    const error = await guest.runHooks('before-snapshot').catch((e) => e);
    expect(error).toMatchObject({ code: 'GuestHookFailed', details: { hook: join(dir, '1') } });
    expect(error.details.output).toHaveLength(4_096);
    expect(error.message).toMatch(/1 ended with exit code 4: [\s\S]*the reason$/);
    expect(existsSync(join(agent.dir, 'second'))).toBe(false);
  });

  test('have a time for all of them together', async () => {
    hook('1', 'true');
    hook('2', 'sleep 1000');
    const error = await guest.runHooks('before-snapshot', { timeoutMs: 1_000 }).catch((e) => e);
    expect(error).toMatchObject({
      code: 'GuestHookFailed',
      message: expect.stringMatching(/2 was not done 1000 ms after the first began$/),
    });
  });

  test('are ended when they are given up', async () => {
    const pidFile = join(agent.dir, 'hook.pid');
    hook('1', `echo $$ > ${pidFile}; exec sleep 1000`);
    const controller = new AbortController();
    const running = guest.runHooks('before-snapshot', { signal: controller.signal });
    running.catch(() => {}); // Looked at below.
    const until = `until test -s ${pidFile}; do sleep 0.01; done; cat ${pidFile}`;
    const pid = Number((await runCommand(guest, { command: until })).stdout);
    controller.abort();
    await expect(running).rejects.toThrow(failure('Cancelled'));
    expect(alive(pid)).toBe(false);
  });

  test('of an event that there is not are refused', async () => {
    await expect(guest.runHooks('../x' as never)).rejects.toThrow(
      failure('InvalidInput', { field: 'event' }),
    );
  });
});

test('the rest of the calls are understood', async () => {
  await guest.ping();
  await guest.freeze({ maxMs: 1_000 });
  await guest.thaw();
  await guest.setClock(Date.now());
  await guest.addEntropy(Buffer.alloc(64, 1));
  await guest.setIdentity({ hostname: 'box', machineId: '0123456789abcdef0123456789abcdef' });
  await guest.setNetwork({ address: '10.0.2.15/24', gateway: '10.0.2.2', dns: ['10.0.2.3'] });
  const usage = await guest.usage();
  expect(usage.memoryTotalBytes).toBeGreaterThan(1 << 20);
  expect(usage.uptimeMs).toBeGreaterThan(0);
  await expect(guest.addEntropy(Buffer.alloc(1))).rejects.toThrow(failure('InvalidInput'));
});

test('a reader that is slow holds up nobody else, and gets everything', async () => {
  await using slow = await guest.exec({ command: 'head -c 3000000 /dev/zero' });
  const output = slow.stdout[Symbol.asyncIterator]();
  await output.next();
  expect(await runCommand(guest, { command: 'head -c 3000000 /dev/zero | wc -c' })).toMatchObject({
    stdout: '3000000\n',
  });
  let rest = 0;
  for (let next = await output.next(); !next.done; next = await output.next()) rest += next.value.length;
  expect(rest).toBeGreaterThan(2_000_000);
});

test('an agent that shuts down while it is sealed lets nobody wait', async () => {
  await using other = new RealAgent();
  await using channel = await other.connect();
  await channel.freeze({ processes: 'freeze' });
  const waiting = channel.exec({ command: ['true'] });
  await channel.shutdown({ graceMs: 0 });
  await expect(waiting).rejects.toThrow(/the guest is shutting down/);
});

test('an agent that dies ends every call', async () => {
  const other = new RealAgent();
  await using channel = await other.connect();
  const process = await channel.exec({ command: 'exec sleep 1000' });
  const read = readAll(process.stdout);
  read.catch(() => {});
  await other[Symbol.asyncDispose]();
  await expect(process.exited).rejects.toThrow(failure('GuestUnreachable'));
  await expect(read).rejects.toThrow(failure('GuestUnreachable'));
  globalThis.process.kill(process.pid, 'SIGKILL'); // Of an agent that is no init, commands outlive it.
});
