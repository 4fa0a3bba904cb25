import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import { readModuleFile } from './module-file.ts';
import { readModuleInfo } from './module-info.ts';

/** A module that a guest loads: its name as `lsmod` shows it, and its uncompressed bytes. */
export interface GuestModule {
  name: string;
  data: Buffer;
}

/** What a guest needs beyond the kernel itself: its devices, and the file systems its root is made of. */
export const guestModules = [
  'virtio_pci',
  'virtio_console',
  'virtio_blk',
  'virtio_rng',
  'virtio_net',
  'squashfs',
  'ext4',
  'overlay',
] as const;

/**
 * Finds the wanted modules and everything they need in a `lib/modules/<release>` folder, in an order in which each can be
 * loaded. What `modules.builtin` lists is left out.
 *
 * @throws AlcoveError `KernelNotFound` names a module that is neither there nor built in
 */
export async function moduleClosure(
  modulesDir: string,
  options: { wanted: readonly string[]; release: string; signal?: AbortSignal | undefined },
): Promise<GuestModule[]> {
  const files = await moduleFiles(modulesDir);
  const builtin = await builtinModules(modulesDir);
  const ordered: GuestModule[] = [];
  const visited = new Set<string>();

  const visit = async (name: string, neededBy: string): Promise<void> => {
    if (visited.has(name) || builtin.has(name)) return;
    visited.add(name);
    const path = files.get(name);
    if (path === undefined) {
      throw new AlcoveError('KernelNotFound', `no module ${name}, which ${neededBy} needs, in ${modulesDir}`);
    }
    const data = await readModuleFile(path, options.signal);
    const info = readModuleInfo(path, data);
    if (info.release !== undefined && info.release !== options.release) {
      throw new AlcoveError(
        'KernelNotFound',
        `${path} is for kernel ${info.release}, but the kernel is ${options.release}`,
        { remedy: 'Name the modules folder that belongs to this kernel.' },
      );
    }
    for (const needed of info.depends) await visit(moduleName(needed), name);
    for (const wished of info.wants) {
      const found = resolveWish(moduleName(wished), files);
      if (found !== undefined) await visit(found, name);
    }
    ordered.push({ name, data });
  };
  for (const name of options.wanted) await visit(name, 'a guest');
  return ordered;
}

/** A soft dependency may name an algorithm (ext4: `crc32c`), which is an alias of its generic module. */
function resolveWish(name: string, files: ReadonlyMap<string, string>): string | undefined {
  return [name, `${name}_generic`].find((candidate) => files.has(candidate));
}

async function moduleFiles(modulesDir: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const entry of await readdir(modulesDir, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && /\.ko(\.(xz|gz|zst))?$/.test(entry.name)) {
      found.set(moduleName(entry.name), join(entry.parentPath, entry.name));
    }
  }
  return found;
}

async function builtinModules(modulesDir: string): Promise<Set<string>> {
  try {
    const lines = await readFile(join(modulesDir, 'modules.builtin'), 'utf8');
    return new Set(lines.split('\n').filter(Boolean).map(moduleName));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Set();
    throw error;
  }
}

/** File names use `-` where the kernel uses `_`. */
function moduleName(file: string): string {
  return basename(file)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}
