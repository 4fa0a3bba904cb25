import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import { storageError, syncPath, writeFileDurably } from '../../store/index.ts';
import type { MachineShape, SnapshotManifest, SnapshotSource } from '../../vm/backend.ts';
import type { DiskImage } from './memory-disk.ts';
import type { MemoryImage } from './memory-guest.ts';

/** What lies in a VM's directory: its disk, and its memory while it is suspended. */
export interface StoredMachine {
  format: 1;
  disk: DiskImage;
  memory?: MemoryImage;
  /** What the next start goes on from when that is not its disk: the image, a snapshot's memory (by directory), or its own. */
  origin?: 'image' | 'own memory' | { snapshot: string };
}

const stateFile = 'machine.json';

export async function storeMachine(dir: string, machine: StoredMachine): Promise<void> {
  const path = join(dir, stateFile);
  try {
    await writeFileDurably(path, JSON.stringify(machine));
  } catch (error) {
    throw storageError(path, error);
  }
}

/** @throws AlcoveError `StateCorrupt` */
export async function loadMachine(dir: string): Promise<StoredMachine> {
  const path = join(dir, stateFile);
  try {
    return JSON.parse(await readFile(path, 'utf8')) as StoredMachine;
  } catch (error) {
    throw new AlcoveError('StateCorrupt', `cannot read ${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** A disk as a snapshot stores it: whole, or as what differs from its parent's. */
type StoredDisk = { nodes: DiskImage; removed: string[] };

/** Writes a snapshot's files, synced, and says what they are. */
export async function storeSnapshot(
  dir: string,
  content: { disk: DiskImage; memory?: MemoryImage },
  parentDisk: DiskImage | undefined,
  about: { shape: MachineShape; imageDigest: string; facts: Record<string, string> },
): Promise<SnapshotManifest> {
  const { cpus, memoryMiB, diskMiB, network } = about.shape;
  const files = {
    'disk.json': JSON.stringify(parentDisk ? difference(parentDisk, content.disk) : whole(content.disk)),
    ...(content.memory && { 'memory.json': JSON.stringify(content.memory) }),
  };
  const described: Record<string, { sizeBytes: number; sha256: string }> = {};
  for (const [name, text] of Object.entries(files)) {
    const path = join(dir, name);
    try {
      await writeFile(path, text, { mode: 0o600, flush: true });
    } catch (error) {
      throw storageError(path, error);
    }
    described[name] = { sizeBytes: Buffer.byteLength(text), sha256: sha256(text) };
  }
  await syncPath(dir);
  return {
    formatVersion: 1,
    backend: 'memory',
    backendVersion: '1',
    kind: content.memory ? 'disk+memory' : 'disk',
    imageDigest: about.imageDigest,
    shape: { cpus, memoryMiB, diskMiB, network },
    facts: about.facts,
    files: described,
    needsParent: parentDisk !== undefined,
  };
}

/** Reads a snapshot whole, through the ancestors it builds on. @throws AlcoveError `SnapshotCorrupt` */
export async function loadSnapshot(
  source: SnapshotSource,
): Promise<{ disk: DiskImage; memory?: MemoryImage }> {
  let disk: DiskImage = {};
  for (const { dir, manifest } of [source, ...source.ancestors].reverse()) {
    const { nodes, removed } = (await readVerified(dir, manifest, 'disk.json')) as StoredDisk;
    disk = { ...(manifest.needsParent ? disk : {}), ...nodes };
    for (const path of removed) delete disk[path];
  }
  if (source.manifest.kind === 'disk') return { disk };
  return { disk, memory: (await readVerified(source.dir, source.manifest, 'memory.json')) as MemoryImage };
}

async function readVerified(dir: string, manifest: SnapshotManifest, name: string): Promise<unknown> {
  const path = join(dir, name);
  const text = await readFile(path, 'utf8').catch((error: Error) => {
    throw corrupt(path, error.message, error);
  });
  if (sha256(text) !== manifest.files[name]?.sha256)
    throw corrupt(path, 'its digest is not what was recorded');
  return JSON.parse(text);
}

function whole(disk: DiskImage): StoredDisk {
  return { nodes: disk, removed: [] };
}

function difference(parent: DiskImage, disk: DiskImage): StoredDisk {
  const changed = Object.entries(disk).filter(
    ([path, node]) => JSON.stringify(parent[path]) !== JSON.stringify(node),
  );
  return {
    nodes: Object.fromEntries(changed),
    removed: Object.keys(parent).filter((path) => !(path in disk)),
  };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function corrupt(path: string, what: string, cause?: unknown): AlcoveError<'SnapshotCorrupt'> {
  return new AlcoveError('SnapshotCorrupt', `cannot use ${path}: ${what}`, { cause, details: { path } });
}
