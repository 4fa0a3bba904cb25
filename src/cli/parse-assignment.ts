import { invalidFlag } from './invalid-flag.ts';

/**
 * Adds `K=V` to what a repeated flag gave before; a later one wins.
 *
 * @throws AlcoveError `InvalidInput`
 */
export function addAssignment(
  flag: string,
  text: string,
  before: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw invalidFlag(flag, `"${text}" is not KEY=VALUE`);
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/**
 * As {@link addAssignment}, and `K` alone takes its value from the environment of the CLI, so that a secret need not
 * stand on the command line.
 */
export function addEnvironment(
  flag: string,
  text: string,
  env: Readonly<Record<string, string | undefined>>,
  before?: Readonly<Record<string, string>>,
): Record<string, string> {
  if (text === '' || text.includes('=')) return addAssignment(flag, text, before);
  const value = env[text];
  if (value === undefined)
    throw invalidFlag(flag, `${text} is not set in your environment`, `Write ${flag} ${text}=VALUE.`);
  return { ...before, [text]: value };
}
