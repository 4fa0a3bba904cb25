import { resolve } from 'node:path';
import type { KeyPolicy } from '../action.ts';
import { type PolicyFile, policyFiles } from './policy-files.ts';
import { policyParts } from './policy-parts.ts';

/** What a policy comes to now. */
export interface ResolvedKeyPolicy {
  /** Text of the `file.PATH` inputs, by PATH: relative to the base where the file is below it, else absolute. */
  files: Readonly<Record<string, string>>;
  /** The smallest of all. */
  maxAgeMs?: number;
}

/**
 * Reads the files that a policy depends on.
 *
 * @param options.base where relative paths and globs start that have no base of their own, and relative bases @default the working directory
 * @returns `none`: not cached
 * @throws AlcoveError `InvalidInput` naming a path that is missing or a glob that finds nothing, `HostFile`, `Cancelled`
 */
export async function resolveKeyPolicy(
  policy: KeyPolicy,
  { base = '.', signal }: { base?: string; signal?: AbortSignal } = {},
): Promise<'none' | ResolvedKeyPolicy> {
  const parts = policyParts(policy);
  if (parts.includes('none')) return 'none';
  const files: PolicyFile[] = [];
  const ages: number[] = [];
  for (const part of parts) {
    if (part === 'none' || part === 'forever') continue;
    if ('ttlMs' in part) ages.push(part.ttlMs);
    else files.push(...(await policyFiles(part.onChange, resolve(base, part.base ?? '.'), signal)));
  }
  return {
    files: byName(files),
    ...(ages.length > 0 && { maxAgeMs: Math.min(...ages) }),
  };
}

/** Each file once. Files of two bases can have one name: the later ones are numbered. */
function byName(files: readonly PolicyFile[]): Record<string, string> {
  const paths = new Map<string, string>();
  const texts: [string, string][] = [];
  for (const { name, path, text } of files) {
    let unique = name;
    for (let count = 2; (paths.get(unique) ?? path) !== path; count++) unique = `${name} (${count})`;
    paths.set(unique, path);
    texts.push([unique, text]);
  }
  return Object.fromEntries(texts);
}
