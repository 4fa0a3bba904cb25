/** Snapshots of a real machine that travel: from one state directory into another that has neither image nor kernel. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import type { DiskUsage, GarbageReport, LineageNode, SnapshotInfo } from '../../src/vm/index.ts';
import { CommandLine } from './command-line.ts';

const origin = new CommandLine();
const elsewhere = new CommandLine();
const work = mkdtempSync(join(tmpdir(), 'portable-'));
const archive = join(work, 'web.alcove');
/** Digest of `/root/noise` in the guest. */
let noise: string;

async function ok(cli: CommandLine, ...args: string[]): Promise<string> {
  const ended = await cli.run(args);
  expect(ended.stderr).not.toMatch(/alcove:/);
  expect(ended.code).toBe(0);
  return ended.stdout;
}

const inGuest = (cli: CommandLine, id: string, script: string) =>
  ok(cli, 'exec', id, '--', 'sh', '-ec', script);

beforeAll(async () => {
  await ok(origin, 'vm', 'create', '--id', 'web', '--start', '-e', 'GREETING=hello');
  const made = 'dd if=/dev/urandom of=/root/noise bs=1M count=8 2>/dev/null; sha256sum < /root/noise; sync';
  noise = await inGuest(origin, 'web', made);
  await ok(origin, 'vm', 'stop', 'web');
  await ok(origin, 'vm', 'snapshot', 'web', '--id', 'disk', '--memory', 'exclude');
  await ok(origin, 'snapshot', 'export', 'web/disk', '-o', archive);
});

afterAll(async () => {
  await origin[Symbol.asyncDispose]();
  await elsewhere[Symbol.asyncDispose]();
  rmSync(work, { recursive: true });
});

test('an export is one file, the same each time', async () => {
  const ended = await origin.run(['snapshot', 'export', 'web/disk', '-o', '-']);
  expect(ended.code).toBe(0);
  expect(ended.stdoutBytes).toBe(statSync(archive).size);
  await ok(origin, 'snapshot', 'export', 'web/disk', '-o', join(work, 'again'));
  expect(digestOf(join(work, 'again'))).toBe(digestOf(archive));
});

test('it is restored and boots where neither image nor kernel was, with every file as it was', async () => {
  expect(await elsewhere.json<unknown[]>(['image', 'ls'])).toEqual([]);
  expect(filesBelow(join(elsewhere.stateDir, 'kernels'))).toEqual([]);
  expect(await ok(elsewhere, 'snapshot', 'import', archive)).toBe('web/disk\n');
  expect(filesBelow(join(elsewhere.stateDir, 'kernels'))).toHaveLength(2);
  await ok(elsewhere, 'vm', 'restore', 'web/disk', '--id', 'copy', '--start');
  expect(await inGuest(elsewhere, 'copy', 'sha256sum < /root/noise')).toBe(noise);
  expect(await inGuest(elsewhere, 'copy', 'echo $GREETING')).toBe('hello\n');
  expect(filesBelow(join(elsewhere.stateDir, 'kernels')), 'none was fetched').toHaveLength(2);
  await inGuest(elsewhere, 'copy', 'echo more > /root/more; sync');
  await ok(elsewhere, 'vm', 'snapshot', 'copy', '--id', 'next', '--memory', 'exclude');
});

test('the tree shows where the copy comes from, with what each takes', async () => {
  const [root] = await elsewhere.json<LineageNode[]>(['snapshot', 'tree']);
  expect(root).toMatchObject({
    kind: 'snapshot',
    snapshot: { ref: 'web/disk', vm: 'gone' },
    children: [
      {
        kind: 'snapshot',
        snapshot: { ref: 'copy/next', vm: 'here' },
        children: [{ kind: 'vm', vm: { id: 'copy', status: 'running' } }],
      },
    ],
  });
  expect(await ok(elsewhere, 'snapshot', 'tree')).toMatch(/^web\/disk .*\n`- copy\/next .*\n {3}`- copy /m);
});

test('disk use is what du says, and shared layers count once', async () => {
  const usage = await elsewhere.json<DiskUsage>(['vm', 'du']);
  const blocks = blocksOf(elsewhere.stateDir);
  // The database's log grows and shrinks while it is looked at.
  expect(Math.abs(usage.totalBytes - blocks)).toBeLessThan(1 << 20);
  const [vm] = usage.vms;
  const disk = usage.snapshots.find(({ ref }) => ref === 'web/disk');
  expect(disk?.sizeBytes).toBeGreaterThan(8 << 20);
  expect(disk?.ownBytes, 'the VM and its snapshot have its layers, too').toBeLessThan(1 << 20);
  expect(vm?.sizeBytes).toBeGreaterThan(8 << 20);
  const listed = await elsewhere.json<SnapshotInfo[]>(['snapshot', 'ls']);
  for (const { ref, sizeBytes, ownBytes } of listed)
    expect(usage.snapshots).toContainEqual({ ref, state: 'whole', sizeBytes, ownBytes });
});

test('garbage collection takes nothing of what is in use', async () => {
  const report = await elsewhere.json<GarbageReport>(['gc', '--all', '--images']);
  expect(
    report.removed.filter(({ kind }) => ['snapshot', 'image', 'kernel', 'initramfs'].includes(kind)),
  ).toEqual([]);
  await ok(elsewhere, 'vm', 'stop', 'copy');
  await ok(elsewhere, 'vm', 'start', 'copy');
  expect(await inGuest(elsewhere, 'copy', 'cat /root/more; sha256sum < /root/noise')).toBe(`more\n${noise}`);
  await ok(elsewhere, 'snapshot', 'verify', 'web/disk', 'copy/next');
});

test('one with memory goes on elsewhere, on the same kind of host', async () => {
  await ok(origin, 'vm', 'start', 'web');
  await inGuest(origin, 'web', 'mkdir /run/m; mount -t tmpfs none /run/m; cp /root/noise /run/m');
  await ok(origin, 'vm', 'snapshot', 'web', '--id', 'memory');
  await ok(origin, 'vm', 'stop', 'web');
  await ok(origin, 'snapshot', 'export', 'web/memory', '-o', join(work, 'memory'));
  await ok(elsewhere, 'snapshot', 'import', join(work, 'memory'));
  await ok(elsewhere, 'vm', 'restore', 'web/memory', '--id', 'alive', '--start');
  expect(await inGuest(elsewhere, 'alive', 'sha256sum < /run/m/noise')).toBe(noise);
  await ok(elsewhere, 'vm', 'stop', 'alive');
  await ok(origin, 'snapshot', 'rm', 'web/memory');
});

test('an archive that is cut, or has a bit flipped, is refused and leaves nothing', async () => {
  const before = filesBelow(elsewhere.stateDir);
  const bytes = readFileSync(archive);
  for (const [name, problem, change] of [
    ['cut', 'cut short', (copy: Buffer) => copy.subarray(0, -1000)],
    ['flipped', 'damaged', (copy: Buffer) => copy.fill((copy.at(1 << 20) ?? 0) ^ 1, 1 << 20, (1 << 20) + 1)],
  ] as const) {
    writeFileSync(join(work, name), change(Buffer.from(bytes)));
    const ended = await elsewhere.run([
      'snapshot',
      'import',
      join(work, name),
      '--as',
      'x/y',
      '--json',
      '-q',
    ]);
    expect(ended.code).toBe(125);
    expect(JSON.parse(ended.stderr)).toMatchObject({ error: { code: 'ArchiveInvalid' } });
    expect(ended.stderr).toContain(problem);
    expect(filesBelow(elsewhere.stateDir)).toEqual(before);
  }
});

test('an import that is killed leaves nothing once the next command has run', async () => {
  const before = filesBelow(elsewhere.stateDir);
  // It waits for the rest, and is killed with a part unpacked.
  const pipe = join(work, 'pipe');
  await runTool('mkfifo', [pipe]);
  await using writer = await open(pipe, 'r+');
  const unpacked = () => filesBelow(join(elsewhere.stateDir, 'tmp')).some((path) => statSync(path).size > 0);
  const ended = await elsewhere.run(['snapshot', 'import', pipe, '--as', 'x/y'], {
    onStart: async ({ kill }) => {
      await writer.write(readFileSync(archive).subarray(0, 4 << 20));
      while (!unpacked()) await new Promise(setImmediate);
      kill('SIGKILL');
    },
  });
  expect(ended.code).toBe(137);
  await ok(elsewhere, 'snapshot', 'ls');
  expect(filesBelow(elsewhere.stateDir)).toEqual(before);
});

describe('a snapshot that is damaged', () => {
  const layers = () => {
    const [uid = ''] = readdirSync(join(origin.stateDir, 'snapshots'));
    const dir = join(origin.stateDir, 'snapshots', uid);
    return readdirSync(dir)
      .filter((name) => name !== 'manifest.json')
      .map((name) => ({ name, path: join(dir, name) }));
  };
  const largest = () =>
    layers().sort((a, b) => statSync(b.path).size - statSync(a.path).size)[0] ?? expect.unreachable();

  test('by one bit is refused, and the file named', async () => {
    const { name, path } = largest();
    flipBit(path, 4 << 20);
    const ended = await origin.run(['vm', 'restore', 'web/disk', '--id', 'bad', '--json', '-q']);
    expect(ended.code).toBe(125);
    expect(JSON.parse(ended.stderr)).toMatchObject({
      error: {
        code: 'SnapshotCorrupt',
        message: expect.stringContaining(name),
        details: { file: name, path },
      },
    });
    expect((await origin.run(['snapshot', 'verify', 'web/disk'])).stderr).toContain(name);
    expect((await origin.run(['snapshot', 'export', 'web/disk', '-o', join(work, 'no')])).stderr).toContain(
      name,
    );
    expect(existsSync(join(work, 'no'))).toBe(false);
    flipBit(path, 4 << 20);
    await ok(origin, 'snapshot', 'verify', 'web/disk');
  });

  test('by a cut is refused, and the file named, also by the commands that come after', async () => {
    const { name, path } = largest();
    const { size } = statSync(path);
    truncateSync(path, size - 1);
    for (let time = 0; time < 2; time++) {
      const ended = await origin.run(['vm', 'restore', 'web/disk', '--id', 'bad', '--json', '-q']);
      expect(JSON.parse(ended.stderr)).toMatchObject({
        error: { code: 'SnapshotCorrupt', details: { file: name } },
      });
    }
    expect(await origin.json<unknown[]>(['snapshot', 'ls'])).toEqual([]);
    const dry = await origin.json<GarbageReport>(['gc', '--dry-run']);
    expect(dry.removed).toMatchObject([
      { kind: 'snapshot', name: 'web/disk', why: expect.stringContaining(name) },
    ]);
    expect(await origin.json<GarbageReport>(['gc'])).toEqual(dry);
    expect(readdirSync(join(origin.stateDir, 'snapshots'))).toEqual([]);
  });
});

function flipBit(path: string, at: number): void {
  const file = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, at);
  byte[0] = (byte[0] ?? 0) ^ 1;
  writeSync(file, byte, 0, 1, at);
  closeSync(file);
}

function digestOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Files in a folder, those of the database and of what runs left out. */
function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/\.db(-\w+)?$|\/vms\/|\/lock\.|\/runtime-dir$/.test(path))
    .sort();
}

/** What `du` says, each inode once. */
function blocksOf(dir: string): number {
  const seen = new Map<number, number>();
  const look = (path: string) => {
    const { ino, blocks } = statSync(path);
    seen.set(ino, blocks * 512);
  };
  look(dir);
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true }))
    if (!entry.isSymbolicLink()) look(join(entry.parentPath, entry.name));
  return [...seen.values()].reduce((sum, bytes) => sum + bytes, 0);
}
