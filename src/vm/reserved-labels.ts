import { AlcoveError } from '../errors.ts';
import { aims, type VmCall } from './transitions.ts';
import type { VmInfo, VmSpec } from './vm.ts';

/** On the machine of a session: the session's id. */
export const sessionLabel = 'alcove.session';

/** Labels that begin with `alcove.` are Alcove's own. @throws AlcoveError `InvalidInput` */
export function checkUserLabels(labels: VmSpec['labels']): void {
  const reserved = Object.keys(labels ?? {}).find((key) => key.startsWith('alcove.'));
  if (reserved === undefined) return;
  throw new AlcoveError('InvalidInput', `label ${reserved}: labels that begin with "alcove." are reserved`, {
    details: { field: 'labels' },
  });
}

/** The machine of a session is started and ended by the pool of sessions alone. @throws AlcoveError `VmInSession` */
export function requireFree({ id, labels }: Pick<VmInfo, 'id' | 'labels'>, call: VmCall): void {
  const sessionId = labels[sessionLabel];
  if (sessionId === undefined) return;
  throw new AlcoveError('VmInSession', `cannot ${call} VM ${id}: it is the machine of session ${sessionId}`, {
    details: { vmId: id, sessionId, to: aims[call] },
  });
}
