import { AlcoveError } from '../../errors.ts';

/** What a kernel module says of itself (`modinfo`). */
export interface ModuleInfo {
  /** Modules that must be loaded before it. */
  depends: string[];
  /** Modules that should be, where they exist (`softdep: pre`). */
  wants: string[];
  /** Release it was built for. */
  release: string | undefined;
}

/**
 * Reads the `.modinfo` section of an uncompressed module: `key=value` strings, each ended by NUL.
 *
 * `modules.dep` is derived from these by depmod when a package is *installed*; an unpacked Debian kernel has none.
 *
 * @throws AlcoveError `KernelNotFound` when the bytes are no 64-bit little-endian ELF object
 */
export function readModuleInfo(name: string, elf: Buffer): ModuleInfo {
  const section = findSection(name, elf, '.modinfo');
  const facts = section
    .toString('latin1')
    .split('\0')
    .map((fact) => fact.split(/=(.*)/s) as [string, string | undefined])
    .map(([key, value]) => ({ key, value: value ?? '' }));
  const all = (key: string) => facts.filter((fact) => fact.key === key).map((fact) => fact.value);
  return {
    depends: all('depends').flatMap((list) => list.split(',').filter(Boolean)),
    wants: all('softdep').flatMap(preOf),
    release: all('vermagic')[0]?.split(' ')[0],
  };
}

/** Of `pre: a b post: c`, the names after `pre:`. */
function preOf(softdep: string): string[] {
  const pre = /(?:^|\s)pre:\s*(.*?)(?=\s*post:|$)/.exec(softdep);
  return pre?.[1]?.split(/\s+/).filter(Boolean) ?? [];
}

/** Offsets from elf(5), 64-bit: the section header table lists name, place and size of each section. */
function findSection(name: string, elf: Buffer, wanted: string): Buffer {
  try {
    if (elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2 || elf[5] !== 1) throw new Error('wrong magic');
    const table = Number(elf.readBigUInt64LE(0x28));
    const entrySize = elf.readUInt16LE(0x3a);
    const count = elf.readUInt16LE(0x3c);
    const names = sectionAt(table + elf.readUInt16LE(0x3e) * entrySize);
    for (let index = 0; index < count; index++) {
      const header = table + index * entrySize;
      const nameStart = names.start + elf.readUInt32LE(header);
      if (elf.toString('latin1', nameStart, nameStart + wanted.length + 1) === `${wanted}\0`) {
        const { start, size } = sectionAt(header);
        return elf.subarray(start, start + size);
      }
    }
    throw new Error(`no section ${wanted}`);
  } catch (error) {
    throw new AlcoveError('KernelNotFound', `${name} is not a kernel module`, { cause: error });
  }

  function sectionAt(header: number): { start: number; size: number } {
    return {
      start: Number(elf.readBigUInt64LE(header + 0x18)),
      size: Number(elf.readBigUInt64LE(header + 0x20)),
    };
  }
}
