import { readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { bootId, toolPath } from '../../host/index.ts';
import { type Seal, sealOf, writeFileDurably } from '../../store/index.ts';
import { type HostFacts, hostOf, type QemuHost, type QemuPrograms } from './probe-host.ts';

const memorySchema = z.object({
  key: z.string(),
  qemu: z.object({ text: z.string(), major: z.number(), minor: z.number(), qboot: z.boolean() }),
});

/**
 * Asks the programs what they are once per host boot, whatever engine runs: four processes, 100 ms on the path of the first start. They
 * are asked again when any of their files is another.
 */
export async function rememberHost(
  dir: string,
  programs: QemuPrograms,
  facts: HostFacts,
  probe: () => Promise<QemuHost>,
): Promise<QemuHost> {
  const path = join(dir, 'qemu-host.json');
  const files = [programs.system, programs.img, 'mkfs.ext4'].map(fileOf);
  const key = files.includes(undefined) ? undefined : JSON.stringify([bootId(), facts.arch, ...files]);
  const remembered = readMemory(path);
  if (remembered && remembered.key === key) return hostOf(remembered.qemu, programs, facts);
  const host = await probe();
  if (key !== undefined) await writeFileDurably(path, JSON.stringify({ key, qemu: host.qemu }));
  return host;
}

/** Where a program is, and what tells that it is still the same file; `undefined` when there is none. */
function fileOf(program: string): ({ path: string } & Seal) | undefined {
  const dirs = program.includes('/') ? [''] : toolPath().split(':');
  for (const dir of dirs) {
    const path = resolve(dir, program);
    const found = statSync(path, { throwIfNoEntry: false, bigint: true });
    if (found?.isFile()) return { path, ...sealOf(found) };
  }
  return undefined;
}

function readMemory(path: string): z.infer<typeof memorySchema> | undefined {
  try {
    return memorySchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined; // Not asked yet, or not to be read: then they are asked.
  }
}
