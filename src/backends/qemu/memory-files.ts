import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import {
  digestFile,
  type FileDigest,
  isSealed,
  linkOrCopy,
  type Seal,
  sealOfFile,
  storageError,
  syncPath,
} from '../../store/index.ts';
import type { SnapshotManifest } from '../../vm/backend.ts';
import { stateFile } from './device-state.ts';
import type { MemoryRecord } from './vm-record.ts';

/** A memory layer somewhere on disk. */
export interface KeptLayer {
  path: string;
  digest: FileDigest;
  /** While it holds, the file needs not be read to know that it is what the digest says. */
  seal?: Seal | undefined;
}

/** Memory as it is kept: layers, lowest first, and everything that is not RAM. */
export interface KeptMemory {
  layers: readonly KeptLayer[];
  device: KeptLayer;
  facts: Readonly<Record<string, string>>;
}

export function pagesFile(index: number): string {
  return `${index}.pages`;
}

/** Links memory into a VM's directory, which must not have any, so that it needs nothing else from then on. */
export async function adoptMemory(
  dir: string,
  { layers, device, facts }: KeptMemory,
  take: 'layers' | 'layers and state',
): Promise<MemoryRecord> {
  try {
    await rm(dir, { recursive: true, force: true });
    await mkdir(dir, { mode: 0o700 });
    await Promise.all(layers.map(({ path }, index) => linkOrCopy(path, join(dir, pagesFile(index)))));
    if (take === 'layers and state') await linkOrCopy(device.path, join(dir, stateFile));
  } catch (error) {
    throw storageError(dir, error);
  }
  const files = [...layers.keys()].map(pagesFile);
  return {
    seals: await sealsOf(dir, take === 'layers' ? files : [...files, stateFile]),
    layers: layers.map(({ digest }, index) => ({ file: pagesFile(index), digest })),
    state: take === 'layers' ? 'used' : 'kept',
    device: take === 'layers' ? null : device.digest,
    facts: { ...facts },
  };
}

/** The seals of files that are known to be right. */
export async function sealsOf(dir: string, files: readonly string[]): Promise<MemoryRecord['seals']> {
  return Object.fromEntries(
    await Promise.all(files.map(async (file) => [file, await sealOfFile(join(dir, file))] as const)),
  );
}

/** The memory that a record describes. @throws AlcoveError `StateCorrupt` when there is none to go on from */
export function keptMemory(dir: string, record: MemoryRecord): KeptMemory {
  if (!record.device)
    throw new AlcoveError('StateCorrupt', `the memory in ${dir} has layers and no state to go on from`);
  return {
    layers: record.layers.map(({ file, digest }) => ({
      path: join(dir, file),
      digest,
      seal: record.seals[file],
    })),
    device: { path: join(dir, stateFile), digest: record.device, seal: record.seals[stateFile] },
    facts: record.facts,
  };
}

/** The memory of a snapshot, or `undefined` when it has none. */
export function snapshotMemory(dir: string, manifest: SnapshotManifest): KeptMemory | undefined {
  if (manifest.kind !== 'disk+memory') return undefined;
  const kept = (name: string): KeptLayer => {
    const digest = manifest.files[name];
    if (!digest)
      throw new AlcoveError(
        'SnapshotCorrupt',
        `the manifest of the snapshot in ${dir} does not list ${name}`,
      );
    return { path: join(dir, name), digest };
  };
  const layers = [kept(pagesFile(0))];
  while (manifest.files[pagesFile(layers.length)]) layers.push(kept(pagesFile(layers.length)));
  return { layers, device: kept(stateFile), facts: manifest.facts };
}

/** Puts memory into a snapshot's directory. @returns what the manifest says of it */
export async function exportMemory(memory: KeptMemory, dir: string): Promise<SnapshotManifest['files']> {
  const files: Record<string, FileDigest> = {};
  for (const [index, { path, digest }] of memory.layers.entries()) {
    const to = join(dir, pagesFile(index));
    if (path !== to) await (dirname(path) === dir ? rename(path, to) : linkOrCopy(path, to));
    files[pagesFile(index)] = digest;
  }
  const state = join(dir, stateFile);
  if (memory.device.path !== state) await linkOrCopy(memory.device.path, state);
  files[stateFile] = memory.device.digest;
  await syncPath(dir);
  return files;
}

/** Makes sure that memory files are what their digests say; those whose seal holds are not read. @throws AlcoveError `SnapshotCorrupt`, naming the file */
export async function checkMemory({ layers, device }: KeptMemory): Promise<void> {
  for (const { path, digest, seal } of [...layers, device]) {
    const found = await stat(path).catch((cause: unknown) => {
      throw new AlcoveError('SnapshotCorrupt', `${path} cannot be read`, { cause });
    });
    if (found.size !== digest.sizeBytes)
      throw new AlcoveError(
        'SnapshotCorrupt',
        `${path} has ${found.size} bytes instead of ${digest.sizeBytes}`,
      );
    if (seal && (await isSealed(path, seal))) continue;
    if ((await digestFile(path)).sha256 !== digest.sha256)
      throw new AlcoveError('SnapshotCorrupt', `${path} does not have the digest that it was recorded with`);
  }
}

/** Removes every file of a directory but those that are on record; the directory may be absent. */
export async function removeOthers(dir: string, recorded: readonly string[]): Promise<void> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw storageError(dir, error);
  });
  for (const name of names) if (!recorded.includes(name)) await rm(join(dir, name), { force: true });
}
