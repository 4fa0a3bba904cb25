import type { KeyPolicy } from '../action.ts';

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
 * @param options.base where relative paths and globs start that have no base of their own @default the working directory
 * @returns `none`: not cached
 * @throws AlcoveError `InvalidInput` naming a path that is missing or a glob that finds nothing, `HostFile`, `Cancelled`
 */
export async function resolveKeyPolicy(
  _policy: KeyPolicy,
  _options: { base?: string; signal?: AbortSignal } = {},
): Promise<'none' | ResolvedKeyPolicy> {
  throw new Error('to come');
}
