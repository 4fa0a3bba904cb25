import { workdir } from '../sessions/session-options.ts';
import { invalidFlag } from './invalid-flag.ts';

/** A copy between this host and a guest. */
export interface CopyPair {
  hostPath: string;
  guestPath: string;
}

/** `HOST:GUEST`, split at the last `:/`. @throws AlcoveError `InvalidInput` */
export function parseCopyIn(flag: string, text: string): CopyPair {
  const at = text.lastIndexOf(':/');
  if (at < 1) {
    throw invalidFlag(flag, `"${text}" is not SRC:DST, a path on this host and an absolute one in the guest`);
  }
  return { hostPath: text.slice(0, at), guestPath: text.slice(at + 1) };
}

/** `GUEST:HOST`, split at the first `:`. @throws AlcoveError `InvalidInput` */
export function parseCopyOut(flag: string, text: string): CopyPair {
  const at = text.indexOf(':');
  if (!text.startsWith('/') || at < 1 || at === text.length - 1) {
    throw invalidFlag(flag, `"${text}" is not SRC:DST, an absolute path in the guest and one on this host`);
  }
  return { guestPath: text.slice(0, at), hostPath: text.slice(at + 1) };
}

/** One side of `alcove cp`. */
export type CopySide = { kind: 'host'; path: string } | { kind: 'guest'; vmId: string; path: string };

/** `VM:/path` is in a guest; anything else is on this host (`./web:/x` too). @throws AlcoveError `InvalidInput` */
export function parseCopySide(name: string, text: string): CopySide {
  const match = /^([a-z0-9][a-z0-9-]{0,62}):(.*)$/s.exec(text);
  if (!match) {
    if (text === '') throw invalidFlag(name, 'the path is empty');
    return { kind: 'host', path: text };
  }
  const [, vmId = '', path = ''] = match;
  if (!path.startsWith('/')) {
    throw invalidFlag(
      name,
      `"${text}": the path in the VM must be absolute`,
      `Write ${vmId}:/${path}, or ./${text} for a file of this host.`,
    );
  }
  return { kind: 'guest', vmId, path };
}

/**
 * One side of `alcove session cp`: `SESSION:path` is in the session, below its workdir where it is not absolute. A UUID may be in capitals.
 *
 * @throws AlcoveError `InvalidInput`
 */
export function parseSessionCopySide(name: string, text: string): CopySide {
  const match = /^([a-z0-9][a-z0-9-]{0,62}|[0-9A-Fa-f-]{36}):(.*)$/s.exec(text);
  if (!match) return parseCopySide(name, text);
  const [, vmId = '', path = ''] = match;
  return { kind: 'guest', vmId, path: path.startsWith('/') ? path : `${workdir}/${path}` };
}
