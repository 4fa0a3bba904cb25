import { AlcoveError } from '../errors.ts';
import { idPattern } from '../vm/index.ts';

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The id by which a session is known. A UUID may be spelled in capitals (RFC 9562, section 4): it is the same one. @throws AlcoveError `InvalidInput` */
export function checkSessionId(given: string): string {
  const id = uuid.test(given) ? given.toLowerCase() : given;
  if (typeof id === 'string' && idPattern.test(id)) return id;
  throw new AlcoveError('InvalidInput', `session id ${JSON.stringify(given)} is not ${idPattern.source}`, {
    details: { field: 'sessionId' },
  });
}
