import type { SnapshotRef } from '../vm/index.ts';
import { invalidFlag } from './invalid-flag.ts';

/** `VM/SNAPSHOT`, as snapshots are listed. @throws AlcoveError `InvalidInput` */
export function parseSnapshotRef(text: string): SnapshotRef {
  const match = /^([^/]+)\/([^/]+)$/.exec(text);
  if (!match) {
    throw invalidFlag(
      'snapshot',
      `"${text}" is not VM/SNAPSHOT`,
      'Names are listed by `alcove snapshot ls`.',
    );
  }
  return `${match[1]}/${match[2]}`;
}
