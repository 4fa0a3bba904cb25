import { AlcoveError } from '../errors.ts';
import { breach } from './failures.ts';
import { maxStreams, tag } from './protocol.ts';
import type { TlvReader } from './wire/tlv-reader.ts';

/** What a call was about, for its errors. */
export interface CallSubject {
  /** In words, to follow "could not": e.g. `read /etc/passwd`. */
  what: string;
  /** Path in the guest, for file errors. */
  path?: string;
  /** The request's field that is at fault when the guest finds it invalid and names none. */
  field?: string;
}

const maxMessageLength = 500;

/** Of what a hook printed, as much as the agent keeps; and as much as goes into the message. */
const maxHookOutput = { inDetails: 4_096, inMessage: 300 } as const;

/**
 * The error that an ERROR frame stands for. Only codes that a guest has reason to send are taken over; whatever else
 * it claims is its breach of protocol. Messages are bounded and free of control characters.
 *
 * @throws AlcoveError `GuestProtocol`
 */
export function guestError(answer: TlvReader, subject: CallSubject): AlcoveError {
  const code = answer.text(tag.CODE, 40) ?? '';
  const said = answer.text(tag.MESSAGE, maxMessageLength) || 'no reason given';
  const errno = errnoName(answer.text(tag.ERRNO, 40));
  const message = `could not ${subject.what}: ${said}`;
  switch (code) {
    case 'GuestFile':
      return new AlcoveError('GuestFile', message, {
        details: { path: subject.path ?? '', errno: errno ?? 'EIO' },
      });
    case 'CommandNotStarted':
      return new AlcoveError('CommandNotStarted', message, { details: { ...(errno && { errno }) } });
    case 'InvalidInput':
      return new AlcoveError('InvalidInput', message, { details: { field: subject.field ?? 'request' } });
    case 'AtCapacity':
      return new AlcoveError('AtCapacity', message, {
        remedy: 'Let some of the calls under way in this guest end first.',
        details: { limit: 'calls in one guest', max: maxStreams, asked: 1, taken: maxStreams },
      });
    case 'Unsupported':
      return new AlcoveError('Unsupported', message, {
        remedy: 'The guest agent is older than this program; start the VM anew.',
        details: { capability: subject.what },
      });
    case 'GuestHookFailed': {
      const output = hookOutput(answer.path(tag.OUTPUT) ?? '');
      return new AlcoveError('GuestHookFailed', withOutput(message, output), {
        details: { hook: answer.text(tag.PATH, maxMessageLength) ?? '', output },
      });
    }
    case 'CommandNotFound':
    case 'GuestUnreachable':
    case 'Cancelled':
      return new AlcoveError(code, message);
    default:
      throw breach(`an error with a code it may not use: ${code || 'none'}`);
  }
}

/** Lines and tabs stay, other control characters do not. */
function hookOutput(text: string): string {
  return text.replace(/[^\P{C}\n\t]/gu, '\ufffd').slice(-maxHookOutput.inDetails);
}

function withOutput(message: string, output: string): string {
  const end = output.trim().slice(-maxHookOutput.inMessage);
  return end === '' ? message : `${message}: ${end}`;
}

function errnoName(text: string | undefined): string | undefined {
  return text !== undefined && /^E[A-Z0-9]{1,19}$/.test(text) ? text : undefined;
}
