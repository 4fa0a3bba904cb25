import { type Command, Option } from 'commander';
import type { CachePolicy, KeyPolicy } from '../../executor/index.ts';
import { invalidFlag } from '../invalid-flag.ts';
import { parsePositiveAge } from '../parse-age.ts';

/** The flags that say whether the result of a command is kept, and for which others it stands. */
export interface CacheFlags {
  cache?: string;
  autoKey?: true;
  cacheMode?: 'use' | 'refresh' | 'read-only';
  onChange?: string[];
  ttl?: number;
  keepMemory?: true;
  name?: string;
}

export function addCacheOptions(command: Command): void {
  const flags = [
    new Option('--auto-key', 'cache under a key made of everything that matters: see `alcove cache explain`'),
    new Option(
      '--cache <key>',
      'cache under a key of your own, which must stand for everything that matters',
    ),
    new Option(
      '--on-change <glob>',
      'run again when the content of these host files changed; means --auto-key; may be repeated',
    ).argParser((text, before: string[] = []) => [...before, text]),
    new Option('--ttl <age>', 'results that are older do not count, e.g. 12h or 7d').argParser((text) =>
      parsePositiveAge('--ttl', text),
    ),
    new Option(
      '--cache-mode <mode>',
      'refresh runs and stores anew; read-only stores nothing (default: use)',
    ).choices(['use', 'refresh', 'read-only']),
    new Option(
      '--keep-memory',
      'keep what is in memory, too: processes that were left behind go on in what starts from it',
    ),
    new Option('--name <name>', 'what people call it, in lists'),
  ];
  for (const flag of flags) command.addOption(flag.helpGroup('Cache:'));
}

/** @throws AlcoveError `InvalidInput` for flags that contradict each other, or say nothing without another */
export function cachePolicyOf(flags: CacheFlags): CachePolicy {
  const { cache, autoKey, onChange, ttl } = flags;
  if (cache === '') throw invalidFlag('--cache', 'the key is empty');
  const mode = modeOf(flags);
  if (cache !== undefined) {
    const other = autoKey ? '--auto-key' : onChange ? '--on-change' : undefined;
    if (other) {
      throw invalidFlag(
        other,
        'with --cache the key is what you say, whatever changes',
        `Leave out --cache or ${other}.`,
      );
    }
    return { cache, ...mode, ...(ttl !== undefined && { maxAgeMs: ttl }) };
  }
  if (!autoKey && !onChange) {
    refuseWithoutKey(flags);
    return 'none';
  }
  return { auto: keyPolicyOf(flags), ...mode };
}

function keyPolicyOf({ onChange, ttl }: CacheFlags): KeyPolicy {
  const parts: KeyPolicy[] = [
    ...(onChange ? [{ onChange }] : []),
    ...(ttl === undefined ? [] : [{ ttlMs: ttl }]),
  ];
  const [first = 'forever', second] = parts;
  return second === undefined ? first : { compose: parts };
}

function modeOf({ cacheMode }: CacheFlags): { mode?: 'use' | 'refresh' | 'readOnly' } {
  if (cacheMode === undefined) return {};
  return { mode: cacheMode === 'read-only' ? 'readOnly' : cacheMode };
}

function refuseWithoutKey({ cacheMode, ttl, keepMemory, name }: CacheFlags): void {
  const given = { '--cache-mode': cacheMode, '--ttl': ttl, '--keep-memory': keepMemory, '--name': name };
  for (const [flag, value] of Object.entries(given)) {
    if (value === undefined) continue;
    throw invalidFlag(
      flag,
      'without a key nothing is cached',
      'Add --auto-key, or --cache with a key of your own.',
    );
  }
}
