import { AlcoveError } from '../errors.ts';
import type { SnapshotRef } from './vm.ts';

/** What ids of VMs and snapshots look like. They are checked, never rewritten: they name directories and host names. */
export const idPattern = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** Source of random bytes. */
export type Random = (bytes: number) => Uint8Array;

/** @throws AlcoveError `InvalidInput` */
export function checkId(field: string, id: string): string {
  if (typeof id === 'string' && idPattern.test(id)) return id;
  throw new AlcoveError(
    'InvalidInput',
    `${field} must be 1 to 63 of a-z, 0-9 and "-", not beginning with "-": ${JSON.stringify(id)}`,
    { details: { field } },
  );
}

/** An id nobody has: the prefix and 60 random bits. */
export function generateId(prefix: string, random: Random): string {
  return `${prefix}-${hex(random(8)).slice(0, 15)}`;
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export function snapshotRef(vmId: string, id: string): SnapshotRef {
  return `${vmId}/${id}`;
}

/** @throws AlcoveError `InvalidInput` for what is no `<vm id>/<snapshot id>` */
export function parseSnapshotRef(ref: string): { vmId: string; id: string } {
  const [vmId, id, ...more] = String(ref).split('/');
  if (vmId === undefined || id === undefined || more.length > 0) {
    throw new AlcoveError(
      'InvalidInput',
      `a snapshot is named <vm id>/<snapshot id>, not ${JSON.stringify(ref)}`,
      {
        details: { field: 'snapshot' },
      },
    );
  }
  return { vmId: checkId('snapshot', vmId), id: checkId('snapshot', id) };
}
