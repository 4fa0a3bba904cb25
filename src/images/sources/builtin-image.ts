import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError, isAlcoveError } from '../../errors.ts';
import type { FlightContext } from '../../host/index.ts';
import { runTool } from '../../host/index.ts';
import { fetchDebianPackage } from '../debian-package.ts';
import { fullDiskOr } from '../full-disk.ts';
import type { TarEntry } from '../tar/tar-entry.ts';
import { endOfTar, paddingAfter, writeTarHeader } from '../tar/tar-writer.ts';
import type { ImageContents } from './image-contents.ts';
import { contentsOfTar } from './plain-rootfs.ts';

/** Where a static busybox may be on this host. */
const hostPlaces = ['/bin/busybox', '/usr/bin/busybox'];

const directories: readonly [path: string, mode: number][] = [
  ...['bin', 'dev', 'etc', 'home', 'mnt', 'opt', 'proc', 'run', 'sbin', 'srv', 'sys', 'usr', 'var'].map(
    (path): [string, number] => [path, 0o755],
  ),
  ...['usr/bin', 'usr/sbin', 'usr/local', 'usr/local/bin', 'var/log', 'var/lib', 'var/cache'].map(
    (path): [string, number] => [path, 0o755],
  ),
  ['root', 0o700],
  ['tmp', 0o1777],
  ['var/tmp', 0o1777],
];

const files: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n',
  'etc/group': 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n',
  'etc/hosts': '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n',
  'etc/nsswitch.conf': 'hosts: files dns\n',
  'etc/profile': 'export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n',
  'etc/os-release': 'ID=alcove\nNAME="Alcove"\nPRETTY_NAME="Alcove built-in"\n',
  'etc/shells': '/bin/sh\n',
};

/**
 * The built-in image: Debian's static busybox with a link for each of its commands, and the few files that programs expect.
 * The same busybox always gives the same digest. What the host has is taken; else the package is fetched.
 *
 * @throws AlcoveError `ToolMissing`, `ToolFailed`, `StateUnusable`, `Cancelled`
 */
export async function readBuiltin(tmpDir: string, context: FlightContext): Promise<ImageContents> {
  const path = (await hostBusybox()) ?? (await fetchBusybox(tmpDir, context));
  const { stdout } = await runTool(path, ['--list-full'], { signal: context.signal });
  const applets = stdout
    .split('\n')
    .filter((applet) => /^[\w./[+-]+$/.test(applet) && applet !== 'bin/busybox');
  const tar = [...tarOf(await readFile(path), applets.sort())];
  return contentsOfTar('the built-in image', async function* () {
    yield* tar;
  });
}

function* tarOf(busybox: Buffer, applets: readonly string[]): Generator<Buffer> {
  const attributes = (mode: number) => ({ mode, uid: 0, gid: 0, mtimeS: 0, xattrs: new Map() });
  const file = (name: string, mode: number, data: Buffer): Buffer[] => [
    writeTarHeader({ name, attributes: attributes(mode), kind: 'file', sizeBytes: data.length }),
    data,
    paddingAfter(data.length),
  ];
  yield writeTarHeader({ name: './', attributes: attributes(0o755), kind: 'directory' });
  for (const [name, mode] of directories) {
    yield writeTarHeader({ name, attributes: attributes(mode), kind: 'directory' });
  }
  yield* file('bin/busybox', 0o755, busybox);
  for (const name of applets) {
    const link: TarEntry = { name, attributes: attributes(0o777), kind: 'symlink', target: '/bin/busybox' };
    yield writeTarHeader(link);
  }
  for (const [name, text] of Object.entries(files)) yield* file(name, 0o644, Buffer.from(text));
  yield endOfTar;
}

async function hostBusybox(): Promise<string | undefined> {
  for (const path of hostPlaces) {
    const program = await readFile(path).catch(() => undefined);
    if (program && isStatic(program)) return path;
  }
  return undefined;
}

async function fetchBusybox(tmpDir: string, context: FlightContext): Promise<string> {
  context.report('fetching busybox-static');
  try {
    const unpacked = await fetchDebianPackage('busybox-static', tmpDir, context.signal);
    for (const path of hostPlaces) {
      const found = join(unpacked, path);
      if (isStatic(await readFile(found).catch(() => Buffer.alloc(0)))) return found;
    }
    throw new AlcoveError('ToolFailed', 'the package busybox-static holds no static busybox');
  } catch (error) {
    const known = fullDiskOr(error, tmpDir);
    if (!isAlcoveError(known, 'ToolFailed') && !isAlcoveError(known, 'ToolMissing')) throw known;
    throw new AlcoveError(known.code, `the built-in image needs a static busybox: ${known.message}`, {
      remedy: 'Run `apt-get update` and `apt-get install busybox-static` as root, or import another image.',
      cause: known,
    });
  }
}

/** An ELF program for this kind of machine that names no interpreter (elf(5): no segment of type PT_INTERP). */
function isStatic(elf: Buffer): boolean {
  if (elf.length < 64 || elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2 || elf[5] !== 1) return false;
  const table = Number(elf.readBigUInt64LE(0x20));
  const entrySize = elf.readUInt16LE(0x36);
  const count = elf.readUInt16LE(0x38);
  if (table + count * entrySize > elf.length) return false;
  const types = Array.from({ length: count }, (_, index) => elf.readUInt32LE(table + index * entrySize));
  return !types.includes(3);
}
