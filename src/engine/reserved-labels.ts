import { AlcoveError } from '../errors.ts';
import type { VmSpec } from '../vm/index.ts';

/** Labels that begin with `alcove.` are Alcove's own. @throws AlcoveError `InvalidInput` */
export function checkLabels(labels: VmSpec['labels']): void {
  const reserved = Object.keys(labels ?? {}).find((key) => key.startsWith('alcove.'));
  if (reserved === undefined) return;
  throw new AlcoveError('InvalidInput', `label ${reserved}: labels that begin with "alcove." are reserved`, {
    details: { field: 'labels' },
  });
}
