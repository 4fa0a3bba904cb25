import { createHmac } from 'node:crypto';
import type { InputValue } from './inputs.ts';

/** Words in the name of a variable that holds a secret. */
const secretWords = new Set(
  'apikey auth authtoken credential credentials key keys passphrase passwd password passwords pgpassword secret secrets token tokens'.split(
    ' ',
  ),
);

/** `scheme://user:password@…` */
const urlWithPassword = /:\/\/[^/\s:@]*:[^/\s@]+@/;

/** Whether a value is not to be stored or shown: somebody said so, or a variable looks like it. */
export function isSecretInput(name: string, { text, secret }: InputValue): boolean {
  if (secret) return true;
  if (!name.startsWith('env.')) return false;
  const words = name.slice('env.'.length).split(/[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])/);
  return words.some((word) => secretWords.has(word.toLowerCase())) || urlWithPassword.test(text);
}

/**
 * What is stored in a secret's place: enough to tell whether it is another one now. It is not the same in two entries, nor for two
 * inputs with the same value.
 */
export function secretDigest(name: string, text: string, key: string): string {
  return createHmac('sha256', key).update(`${name}\0${text}`).digest('hex').slice(0, 16);
}
