import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runTool, systemClock } from '../../../host/index.ts';
import { isSealed, sealOfFile } from '../../../store/index.ts';
import { QmpConnection } from '../qmp-connection.ts';
import { type CapturedPages, pageBytes, prepareCapture } from './index.ts';
import { findMapping } from './process-mapping.ts';

const MiB = 1 << 20;
const ramBytes = 256 * MiB;

let dir: string;
let ramPath: string;
let spillPath: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'capture-'));
  ramPath = join(dir, 'ram');
  spillPath = join(dir, 'spill');
});
afterEach(() => rm(dir, { recursive: true }));

/** A real QEMU without a machine that has a RAM file mapped. The test writes to its memory as a guest would: what it writes through `/proc/PID/mem` is copied first. */
class Qemu implements AsyncDisposable {
  readonly pid: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid ?? 0;
  }

  static async start(share: 'on' | 'off' = 'off'): Promise<Qemu> {
    const backend = `memory-backend-file,id=ram0,size=${ramBytes},mem-path=${ramPath},share=${share}`;
    const monitor = join(dir, 'qmp');
    const plain = ['-machine', 'none', '-nodefaults', '-no-user-config', '-display', 'none', '-S'];
    const args = [...plain, '-object', backend, '-qmp', `unix:${monitor},server=on,wait=off`];
    const child = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const connect = { path: monitor, clock: systemClock, timeoutMs: 30_000, onEvent: () => {} };
    using _ready = await QmpConnection.open(connect);
    return new Qemu(child);
  }

  /** Writes into the RAM, at an offset of it. */
  write(offset: number, bytes: Buffer): void {
    const memory = openSync(`/proc/${this.pid}/mem`, 'r+');
    try {
      for (const part of findMapping(this.pid, ramPath, ramBytes)) {
        if (offset < part.offset || offset >= part.offset + part.length) continue;
        writeSync(memory, bytes, 0, bytes.length, part.start + offset - part.offset);
      }
    } finally {
      closeSync(memory);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = this.#child.exitCode === null ? once(this.#child, 'exit') : undefined;
    this.#child.kill('SIGKILL');
    await exited;
  }
}

async function makeRam(fill?: { offset: number; bytes: Buffer }): Promise<void> {
  await using file = await open(ramPath, 'wx', 0o600);
  await file.truncate(ramBytes);
  if (fill) await file.write(fill.bytes, 0, fill.bytes.length, fill.offset);
}

function captureChangedPages(request: Parameters<typeof prepareCapture>[0]) {
  const prepared = prepareCapture(request);
  if (prepared.kind === 'refused') return prepared;
  using ready = prepared;
  return ready.capture();
}

function capture(pid: number): CapturedPages {
  const captured = captureChangedPages({ pid, ramPath, ramBytes, spillPath });
  if (captured.kind === 'refused') return expect.unreachable(captured.reason);
  return captured;
}

/** Pages and their content, the runs as they came. */
async function contentOf(
  pages: CapturedPages,
): Promise<{ runs: [number, number][]; ram: Map<number, Buffer> }> {
  const ram = new Map<number, Buffer>();
  const runs: [number, number][] = [];
  for await (const { firstPage, count, data } of pages) {
    if (data === 'zero') return expect.unreachable('a capture does not look for zero pages');
    runs.push([firstPage, count]);
    for (let page = 0; page < count; page++)
      ram.set(firstPage + page, Buffer.from(data.subarray(page * pageBytes, (page + 1) * pageBytes)));
  }
  return { runs, ram };
}

describe('what a machine changed of its memory', () => {
  test('is nothing before it wrote, however much it read', async () => {
    await makeRam({ offset: 0, bytes: Buffer.alloc(MiB, 7) });
    await using qemu = await Qemu.start();
    const [part] = findMapping(qemu.pid, ramPath, ramBytes);
    const memory = await open(`/proc/${qemu.pid}/mem`, 'r');
    const read = await memory.read(Buffer.alloc(2 * MiB), 0, 2 * MiB, part?.start ?? 0);
    await memory.close();
    expect(read.buffer[0]).toBe(7);
    await using captured = capture(qemu.pid);
    expect(captured.pageCount).toBe(0);
  });

  test('is every page that it wrote to, with its content then, in as few runs as can be', async () => {
    await makeRam({ offset: 0, bytes: Buffer.alloc(MiB, 7) });
    const seal = await sealOfFile(ramPath);
    await using qemu = await Qemu.start();
    qemu.write(0, Buffer.alloc(3 * pageBytes, 1)); // Over what the file has, three in a row.
    qemu.write(9 * pageBytes, Buffer.alloc(pageBytes)); // Made zero.
    qemu.write(100 * MiB + 5, Buffer.from('within a page'));
    qemu.write(ramBytes - pageBytes, Buffer.alloc(pageBytes, 3)); // The last.
    await using captured = capture(qemu.pid);
    qemu.write(0, Buffer.alloc(pageBytes, 9)); // After the capture: not part of it.

    const { runs, ram } = await contentOf(captured);
    const inside = (100 * MiB) / pageBytes;
    const last = ramBytes / pageBytes - 1;
    expect(runs).toEqual([
      [0, 3],
      [9, 1],
      [inside, 1],
      [last, 1],
    ]);
    expect(captured.pageCount).toBe(6);
    expect(ram.get(0)?.equals(Buffer.alloc(pageBytes, 1))).toBe(true);
    expect(ram.get(9)?.equals(Buffer.alloc(pageBytes))).toBe(true);
    expect(ram.get(inside)?.toString('latin1', 5, 18)).toBe('within a page');
    expect(ram.get(last)?.equals(Buffer.alloc(pageBytes, 3))).toBe(true);
    expect(readFileSync(ramPath)[0]).toBe(7); // The file is as it was, and QEMU, which opens it for writing, leaves its time alone.
    expect(await isSealed(ramPath, seal)).toBe(true);
  });

  test.each(['taken before', 'taken when needed'])(
    'is kept on disk beyond 64 MiB (memory %s), in a file that no crash would leave behind',
    async (memory) => {
      await makeRam();
      await using qemu = await Qemu.start();
      const changed = 78 * MiB + pageBytes;
      const numbers = Buffer.alloc(changed);
      for (let at = 0; at < changed; at += pageBytes) numbers.writeUInt32LE(at / pageBytes + 1, at);
      for (let at = 0; at < changed; at += MiB) qemu.write(MiB + at, numbers.subarray(at, at + MiB));

      const prepared = prepareCapture({ pid: qemu.pid, ramPath, ramBytes, spillPath });
      if (prepared.kind === 'refused') return expect.unreachable(prepared.reason);
      if (memory === 'taken before') prepared.takeMemory();
      await using captured = prepared.capture();
      prepared[Symbol.dispose]();
      expect(await readdir(dir)).not.toContain('spill');
      expect(captured.pageCount).toBe(changed / pageBytes);
      expect(captured.spilledBytes).toBe(changed - 64 * MiB);
      for (const _time of ['once', 'again']) {
        let next = 1;
        for (const [page, bytes] of (await contentOf(captured)).ram) {
          expect(page).toBe(MiB / pageBytes + next - 1);
          expect(bytes.readUInt32LE(0)).toBe(next++);
        }
        expect(next - 1).toBe(changed / pageBytes);
      }
    },
  );

  test('cannot be had of a capture that was given up: no layer without its pages is ever written', async () => {
    await makeRam();
    await using qemu = await Qemu.start();
    qemu.write(0, Buffer.alloc(pageBytes, 1));
    const captured = capture(qemu.pid);
    await captured[Symbol.asyncDispose]();
    await expect(contentOf(captured)).rejects.toMatchObject({ code: 'Internal' });
  });
});

describe('a capture that cannot be', () => {
  test('is refused where the host does not let this user look into the process', async () => {
    await makeRam();
    await using qemu = await Qemu.start();
    const asRoot = process.geteuid?.() === 0;
    // Of a file that everybody may look at: this directory is closed to the user that root becomes for a moment.
    const request = { pid: asRoot ? qemu.pid : 1, ramPath: '/dev/null', ramBytes, spillPath };
    if (asRoot) process.seteuid?.(65_534);
    try {
      expect(captureChangedPages(request)).toEqual({
        kind: 'refused',
        reason: expect.stringContaining(`/proc/${request.pid}/maps`),
      });
    } finally {
      if (asRoot) process.seteuid?.(0);
    }
  });

  test('says so when the process has another file mapped, though of the same name', async () => {
    await makeRam();
    await using qemu = await Qemu.start();
    await rm(ramPath);
    await makeRam();
    expect(() => capture(qemu.pid)).toThrowError(expect.objectContaining({ code: 'VmFailed' }));
  });

  test('says so when the file has another size than what is mapped of it', async () => {
    await makeRam();
    await using qemu = await Qemu.start();
    const request = { pid: qemu.pid, ramPath, ramBytes: ramBytes / 2, spillPath };
    expect(() => captureChangedPages(request)).toThrowError(expect.objectContaining({ code: 'VmFailed' }));
  });

  test('says so when the file is mapped shared: what changed is in it', async () => {
    await makeRam();
    await using qemu = await Qemu.start('on');
    expect(() => capture(qemu.pid)).toThrowError(expect.objectContaining({ code: 'Internal' }));
  });

  test('says so when the process is gone, before or while it is looked at', async () => {
    await makeRam();
    const qemu = await Qemu.start();
    qemu.write(0, Buffer.alloc(pageBytes, 1));
    const prepared = prepareCapture({ pid: qemu.pid, ramPath, ramBytes, spillPath });
    await qemu[Symbol.asyncDispose]();
    if (prepared.kind === 'refused') return expect.unreachable(prepared.reason);
    using ready = prepared;
    expect(() => ready.capture()).toThrowError(expect.objectContaining({ code: 'VmFailed' }));
    expect(() => capture(qemu.pid)).toThrowError(expect.objectContaining({ code: 'VmFailed' }));
  });

  test.each(['there is a file of its name', 'the disk is full'])(
    'leaves nothing open and nothing of its own on disk when %s where it should spill',
    async (why) => {
      await makeRam();
      await using qemu = await Qemu.start();
      for (let at = 0; at < 70 * MiB; at += MiB) qemu.write(at, Buffer.alloc(MiB, 1));
      const spillDir = join(dir, 'spills');
      spillPath = join(spillDir, 'spill');
      await mkdir(spillDir);
      await runTool('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', spillDir]);
      if (why !== 'the disk is full') await writeFile(spillPath, 'somebody else’s');
      const present = await readdir(spillDir);
      const files = async () => (await readdir('/proc/self/fd')).length;
      const before = await files();
      try {
        expect(() => capture(qemu.pid)).toThrowError(expect.objectContaining({ code: 'StateUnusable' }));
        expect(await files()).toBe(before);
        expect(await readdir(spillDir)).toEqual(present);
      } finally {
        await runTool('umount', [spillDir]);
      }
    },
  );
});
