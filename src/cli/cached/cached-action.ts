import type { Action, CachePolicy } from '../../executor/index.ts';
import { execRequestOf } from '../command-options.ts';
import { type RunFlags, refuseAny, refuseShapeWithFrom } from '../run-options.ts';
import { defaultImage } from '../vm-options.ts';
import { injectionsOf } from './inject-options.ts';

/** @throws AlcoveError `InvalidInput` for flags that make no sense together */
export function checkRunFlags(flags: RunFlags, policy: CachePolicy): void {
  refuseShapeWithFrom(flags);
  injectionsOf(flags);
  if (isCached(policy)) refuseUncacheable(flags);
}

/** The action that these flags of `alcove run` with a key stand for. @throws AlcoveError `InvalidInput` when there are no words */
export function cachedActionOf(words: readonly string[], flags: RunFlags): Action {
  const { command, env, user, timeoutMs } = execRequestOf(words, flags);
  const { from, image = defaultImage, secret, keepMemory, name } = flags;
  const limits = limitsOf(flags);
  const { inject, workdir } = injectionsOf(flags);
  return {
    source: from === undefined ? { image } : { snapshot: from },
    command,
    ...(env && { env }),
    ...(secret && { secrets: secret }),
    ...(workdir !== undefined && { workdir }),
    ...(user !== undefined && { user }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(inject.length > 0 && { inject }),
    ...(Object.keys(limits).length > 0 && { limits }),
    ...(keepMemory && { memory: true }),
    ...(name !== undefined && { name }),
  };
}

/** Whether the flags ask for a cached run at all. */
export function isCached(policy: CachePolicy): policy is Exclude<CachePolicy, 'none'> {
  return policy !== 'none';
}

function limitsOf({ cpus, memory, disk, network }: RunFlags): NonNullable<Action['limits']> {
  return {
    ...(cpus !== undefined && { cpus }),
    ...(memory !== undefined && { memoryMiB: memory }),
    ...(disk !== undefined && { diskMiB: disk }),
    ...(network !== undefined && { network }),
  };
}

function refuseUncacheable(flags: RunFlags): void {
  const { interactive, tty, copyIn, copyOut, label, kernel, modules, initramfs, bootArg } = flags;
  const without = (flag: string) => `Leave out ${flag}, or run without a key.`;
  refuseAny(
    { '--interactive': interactive },
    'standard input is no part of the key of a cached run',
    without,
  );
  refuseAny({ '--tty': tty }, 'what happens on a terminal cannot be replayed by a cached run', without);
  refuseAny(
    { '--copy-in': copyIn },
    'what it copies is no part of the key of a cached run',
    () => 'Use --inject DIR:/PATH.',
  );
  refuseAny(
    { '--copy-out': copyOut },
    'a cached run that is a hit has no machine to copy out of',
    () => 'Copy in a second run, which starts --from the snapshot of the first.',
  );
  refuseAny({ '--label': label }, 'the machine of a cached run is nobody’s to find', without);
  refuseAny(
    { '--kernel': kernel, '--modules': modules, '--initramfs': initramfs, '--boot-arg': bootArg },
    'what is booted is no part of the key of a cached run',
    without,
  );
}
