import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BackupStore } from '../../src/sessions/backup/backup-store.ts';
import { openBackupStore } from '../../src/sessions/backup/open-backup-store.ts';
import { ManualClock } from '../guest/manual-clock.ts';
import { directory, makeTar } from '../images/make-tar.ts';

/** What manifests of these tests say besides. */
export const facts = {
  workdir: '/work',
  image: { reference: 'base', digest: `sha256:${'0'.repeat(64)}` },
  versions: { alcove: '1.0.0', agent: '1.0.0' },
};

/** More than any archive of these tests needs. */
export const roomy = { unpackedBytes: 1 << 30, entries: 100_000 };

export interface BackupFixture {
  dir: string;
  destination: string;
  clock: ManualClock;
  /** Sets the wall clock, back too. */
  setClock(ms: number): void;
  warnings: string[];
  store: BackupStore;
  /** Another engine's store, of another state directory or another destination. */
  other(options: { owner?: string; destination?: string }): BackupStore;
  /** Backs up a tar, of one file by default. */
  write(sessionId: string, tar?: Buffer, options?: { usedBytes?: number }): ReturnType<BackupStore['write']>;
  /** Names of all that lies in the destination, sorted. */
  names(): string[];
  end(): void;
}

export function backupFixture(): BackupFixture {
  const dir = mkdtempSync(join(tmpdir(), 'alcove-backup-'));
  let setMs = Date.UTC(2030, 0, 2, 3, 4, 5, 678);
  const clock = new (class extends ManualClock {
    override now(): number {
      return setMs;
    }
  })();
  const warnings: string[] = [];
  const destination = join(dir, 'backups');
  let drawn = 0;
  const other: BackupFixture['other'] = ({ owner = 'own', destination: to = destination }) =>
    openBackupStore({
      destination: to,
      clock,
      random: (bytes) => Buffer.alloc(bytes, ++drawn),
      owner,
      warn: (message) => warnings.push(message),
    });
  const store = other({});
  return {
    dir,
    destination,
    clock,
    setClock: (ms) => {
      setMs = ms;
    },
    warnings,
    store,
    other,
    write: (sessionId, tar = smallTar('content'), { usedBytes = tar.length } = {}) =>
      store.write({ sessionId, tar: chunksOf(tar), usedBytes, facts }),
    names: () => readdirSync(destination).sort(),
    end: () => rmSync(dir, { recursive: true }),
  };
}

/** Files below a folder that this process has open. */
export function openBelow(dir: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(dir) ? [path] : [];
    } catch {
      return []; // It was the one that listed them.
    }
  });
}

export function smallTar(content: string | Buffer): Buffer {
  return makeTar([
    { name: './', is: directory },
    { name: './file', data: content },
  ]);
}

export async function* chunksOf(bytes: Uint8Array, chunkBytes = 10_007): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

export async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** Runs a program of the host to its end. @throws when it fails */
export function run(command: string, args: readonly string[], input?: Buffer): Buffer {
  const { status, stdout, stderr, error } = spawnSync(command, args, { input, maxBuffer: 256 << 20 });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr.toString()}`);
  return stdout;
}

/** A folder with all that a workdir may have. */
export function makeTree(dir: string): void {
  mkdirSync(join(dir, 'sub/empty'), { recursive: true });
  writeFileSync(join(dir, 'a'), 'x'.repeat(700));
  writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0x0a, 0xfe])]), 'odd name');
  writeFileSync(join(dir, 'sub', 'n'.repeat(200)), 'long name');
  run('ln', ['-s', '/etc/shadow', join(dir, 'shadow')]);
  run('ln', ['-s', `${'t'.repeat(200)}`, join(dir, 'far')]);
  run('ln', [join(dir, 'a'), join(dir, 'twin')]);
  run('mkfifo', [join(dir, 'fifo')]);
  run('truncate', ['--size=3M', join(dir, 'sparse')]);
  run('dd', [
    `of=${join(dir, 'sparse')}`,
    'if=/dev/zero',
    'bs=1',
    'count=1',
    'seek=2M',
    'conv=notrunc',
    'status=none',
  ]);
}
