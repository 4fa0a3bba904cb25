import { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import { type ArchiveContents, indexName, refusedIndex } from './archive-contents.ts';
import { invalidArchive } from './archive-error.ts';
import { readSetIndex, setIndex } from './set-index.ts';
import { readSnapshotIndex, snapshotIndex } from './snapshot-index.ts';

/** An index is a few KiB; with hundreds of layers a few hundred; of a set some 6 KiB for each snapshot. */
export const maxIndexBytes = 64 << 20;

/** Version 1 holds one snapshot, version 2 a set; see {@link ArchiveContents}. */
const readers: Readonly<Record<number, (value: unknown) => ArchiveContents>> = {
  1: readSnapshotIndex,
  2: readSetIndex,
};

/** @throws AlcoveError `ArchiveInvalid` for an index that is malformed or contradicts itself */
export function parseIndex(json: string): ArchiveContents {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw refusedIndex('is no JSON', error);
  }
  const version = (value as { version?: unknown } | null)?.version;
  if (typeof version === 'number' && version > 2) {
    throw invalidArchive(
      'refused',
      `the archive has format version ${version}; this Alcove reads versions 1 and 2`,
      { member: indexName },
      { remedy: 'Import it with the Alcove that made it, or a newer one.' },
    );
  }
  try {
    return (readers[Number(version)] ?? readSnapshotIndex)(value);
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    const [issue] = error.issues;
    throw refusedIndex(`is malformed: ${issue?.path.join('.')}: ${issue?.message}`, error);
  }
}

/**
 * The bytes of an index. They were read back: what an import would refuse is not exported, and fields have the order of the format,
 * wherever they come from.
 */
export function writeIndex(contents: ArchiveContents): Buffer {
  const bytes = Buffer.from(jsonOf(parseIndex(jsonOf(contents))));
  requireAtMost('bytes of an index', bytes.length, maxIndexBytes);
  return bytes;
}

/** @throws AlcoveError `InvalidInput` for more than one archive can hold */
export function requireAtMost(what: string, count: number, most: number): void {
  if (count <= most) return;
  throw new AlcoveError('InvalidInput', `an archive holds at most ${most} ${what}, not ${count}`, {
    remedy: 'Export less at a time.',
    details: { field: what },
  });
}

function jsonOf(contents: ArchiveContents): string {
  if (contents.kind === 'set') return `${JSON.stringify(setIndex(contents))}\n`;
  return `${JSON.stringify(snapshotIndex(contents), undefined, 2)}\n`;
}
