import type { TarAttributes } from '../tar/tar-entry.ts';

/** Name spaces that squashfs can hold (mksquashfs(1)). POSIX access lists, in `system.`, are not among them. */
const heldByFormat = ['user.', 'trusted.', 'security.'];

/** overlayfs takes these as its own commands when the image is a layer of the guest's root; an image has no business giving any. */
const overlayCommands = ['trusted.overlay.', 'user.overlay.'];

const maxSeconds = 2 ** 32 - 1;

/** What of an entry's attributes an image keeps: what squashfs can say and is no command to the guest's overlayfs. */
export function keptAttributes(attributes: TarAttributes): TarAttributes {
  const xattrs = [...attributes.xattrs].filter(
    ([name]) =>
      heldByFormat.some((prefix) => name.startsWith(prefix)) &&
      !overlayCommands.some((prefix) => name.startsWith(prefix)),
  );
  return {
    ...attributes,
    mtimeS: Math.min(Math.max(attributes.mtimeS, 0), maxSeconds),
    xattrs: new Map(xattrs.sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}
