import { type BigIntStats, readFileSync, statSync } from 'node:fs';
import { AlcoveError } from '../../../errors.ts';

/** A part of a file as it lies in a process's address space. */
export interface MappedPart {
  /** Address of its first byte. All user addresses are below 2^47, so numbers hold them. */
  start: number;
  length: number;
  /** Offset in the file. */
  offset: number;
}

/**
 * Where a process has mapped a file privately: parts in order of their offset that together are the first `length` bytes. The
 * file is known by device and inode, as names change and a process in a chroot sees other ones; the kernel splits a mapping
 * where parts of it got different advice.
 *
 * @throws AlcoveError `VmFailed` (it is not mapped), `Internal` (it is mapped shared), `StateUnusable` (there is no such file); what `readFileSync` throws of `/proc/PID/maps`
 */
export function findMapping(pid: number, path: string, length: number): MappedPart[] {
  const file = identify(path);
  const found = mappedParts(readFileSync(`/proc/${pid}/maps`, 'latin1'), file, length);
  if (found === 'shared')
    throw new AlcoveError(
      'Internal',
      `process ${pid} has ${path} mapped shared: what it changed is in the file`,
    );
  if (found === 'absent')
    throw new AlcoveError('VmFailed', `process ${pid} has not mapped the ${length} bytes of ${path}`);
  return found;
}

/** @param maps content of `/proc/PID/maps` */
export function mappedParts(
  maps: string,
  { dev, ino }: { dev: bigint; ino: bigint },
  length: number,
): MappedPart[] | 'shared' | 'absent' {
  const { major, device } = deviceName(dev);
  const parts = parseMaps(maps).filter((part) => part.ino === ino);
  // btrfs and overlayfs tell stat(2) of another device than the mapping's, both without a major number: there the inode and
  // the exact extent must do.
  const exact = parts.filter((part) => part.device === device);
  const own = exact.length > 0 || major !== 0n ? exact : parts;
  if (own.some((part) => part.shared)) return 'shared';
  const mapped: MappedPart[] = [];
  let next = 0;
  for (const { start, length, offset } of own.toSorted((a, b) => a.offset - b.offset)) {
    if (offset !== next) return 'absent'; // Nor may it be mapped twice: which one the guest writes to cannot be seen.
    mapped.push({ start, length, offset });
    next += length;
  }
  return next === length ? mapped : 'absent';
}

function identify(path: string): BigIntStats {
  try {
    return statSync(path, { bigint: true });
  } catch (cause) {
    throw new AlcoveError('StateUnusable', `cannot look at ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** A line of `/proc/PID/maps` (proc(5)): `start-end perms offset major:minor inode path`. */
const mapsLine = /^([0-9a-f]+)-([0-9a-f]+) ...([ps]) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+)/;

function parseMaps(text: string) {
  return text.split('\n').flatMap((line) => {
    const [, start = '', end = '', sharing, offset = '', device = '', ino = ''] = mapsLine.exec(line) ?? [];
    if (start === '') return [];
    const from = Number.parseInt(start, 16);
    return {
      start: from,
      length: Number.parseInt(end, 16) - from,
      offset: Number.parseInt(offset, 16),
      shared: sharing === 's',
      device,
      ino: BigInt(ino),
    };
  });
}

/** Takes a device number apart as glibc's `gnu_dev_major` and `gnu_dev_minor` do, and writes it as the kernel does in `maps`. */
function deviceName(dev: bigint): { major: bigint; device: string } {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  return { major, device: `${hex(major)}:${hex(minor)}` };
}

function hex(number: bigint): string {
  return number.toString(16).padStart(2, '0');
}
