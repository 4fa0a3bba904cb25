/** One entry of an initramfs. Devices are character devices; all is owned by root. */
export type CpioEntry =
  | { kind: 'directory'; path: string; mode: number }
  | { kind: 'file'; path: string; mode: number; data: Uint8Array }
  | { kind: 'device'; path: string; mode: number; major: number; minor: number };

const formatBits = { directory: 0o040000, file: 0o100000, device: 0o020000 } as const;

/**
 * Writes a "newc" cpio archive, the format the kernel unpacks an initramfs from
 * (Documentation/driver-api/early-userspace/buffer-format.rst). The same entries always give the same bytes: times are
 * zero, inode numbers count up. Directories must come before what is in them.
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  entries.forEach((entry, index) => {
    parts.push(header(entry, index + 1), ...(entry.kind === 'file' ? padded(entry.data) : []));
  });
  parts.push(header({ kind: 'file', path: 'TRAILER!!!', mode: 0, data: new Uint8Array() }, 0));
  return Buffer.concat(parts);
}

function header(entry: CpioEntry, inode: number): Buffer {
  const name = Buffer.from(`${entry.path}\0`);
  const isTrailer = inode === 0;
  const fields = [
    inode,
    isTrailer ? 0 : formatBits[entry.kind] | entry.mode,
    0, // uid
    0, // gid
    entry.kind === 'directory' ? 2 : 1, // links
    0, // mtime
    entry.kind === 'file' ? entry.data.length : 0,
    0, // major and minor of the device it is on
    0,
    entry.kind === 'device' ? entry.major : 0,
    entry.kind === 'device' ? entry.minor : 0,
    name.length,
    0, // checksum, not used by newc
  ];
  const head = `070701${fields.map((field) => field.toString(16).toUpperCase().padStart(8, '0')).join('')}`;
  return Buffer.concat(padded(Buffer.concat([Buffer.from(head), name])));
}

function padded(data: Uint8Array): Buffer[] {
  return [Buffer.from(data.buffer, data.byteOffset, data.byteLength), Buffer.alloc(-data.length & 3)];
}
