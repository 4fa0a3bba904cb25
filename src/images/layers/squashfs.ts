import { fullDiskOr } from '../full-disk.ts';
import type { TarAttributes } from '../tar/tar-entry.ts';
import { toolOutput } from '../tool-output.ts';
import { coalesced } from './coalesce.ts';
import { setRootOwnerAndTime } from './root-inode.ts';

/** Chosen by measurement; see docs/decisions. */
const compression = ['-comp', 'zstd', '-Xcompression-level', '1'];

/**
 * Writes a squashfs from a tar, owners and all, as any user. The same tar gives the same bytes.
 *
 * The root's attributes are given apart: mksquashfs 4.5 passes over an entry for it. Its extended attributes are lost.
 * Not `sqfstar`: that of squashfs-tools 4.5 takes no compression level ("missing compression level").
 *
 * @throws AlcoveError `ToolMissing`, `ToolFailed`, `StateUnusable` when the disk is full, `Cancelled`; what the tar threw
 */
export async function writeSquashfs(
  tar: AsyncIterable<Buffer>,
  options: { path: string; root: TarAttributes; signal: AbortSignal },
): Promise<void> {
  const { path, root, signal } = options;
  const args = [
    ...['-', path, '-tar', '-noappend'],
    ...['-quiet', '-no-progress', '-exit-on-error', '-reproducible'],
    ...['-mkfs-time', '0', '-root-mode', root.mode.toString(8), '-noI'],
    ...compression,
  ];
  try {
    for await (const _ of toolOutput('mksquashfs', args, { input: coalesced(tar), signal }));
    await setRootOwnerAndTime(path, root);
  } catch (error) {
    throw fullDiskOr(error, path);
  }
}
