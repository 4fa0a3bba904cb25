import type { TarAttributes, TarKind } from '../../src/images/tar/tar-entry.ts';
import { endOfTar, paddingAfter, writeTarHeader } from '../../src/images/tar/tar-writer.ts';

/** An entry in few words: what is not said is root's, of 2001, with usual modes. Names are byte strings. */
export interface MadeEntry extends Partial<Omit<TarAttributes, 'xattrs'>> {
  name: string;
  /** Content of a file; the default kind. */
  data?: string | Buffer;
  is?: Exclude<TarKind, { kind: 'file' }>;
  xattrs?: Readonly<Record<string, Buffer>>;
}

export const directory = { kind: 'directory' } as const;
export const symlink = (target: string) => ({ kind: 'symlink', target }) as const;
export const hardLink = (target: string) => ({ kind: 'hard-link', target }) as const;

/** A tar of these entries, in this order. */
export function makeTar(entries: readonly MadeEntry[]): Buffer {
  const parts = entries.flatMap(({ name, data = '', is, xattrs = {}, ...attributes }) => {
    const content = is ? Buffer.alloc(0) : Buffer.from(data);
    const header = writeTarHeader({
      name,
      attributes: {
        mode: is?.kind === 'directory' ? 0o755 : is?.kind === 'symlink' ? 0o777 : 0o644,
        uid: 0,
        gid: 0,
        mtimeS: 1_000_000_000,
        ...attributes,
        xattrs: new Map(Object.entries(xattrs)),
      },
      ...(is ?? { kind: 'file', sizeBytes: content.length }),
    });
    return [header, content, paddingAfter(content.length)];
  });
  return Buffer.concat([...parts, endOfTar]);
}
