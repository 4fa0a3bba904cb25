import { AlcoveError } from '../errors.ts';
import { commandLabel } from '../guest/index.ts';
import { defaultMachine } from '../vm/index.ts';
import type { Action } from './action.ts';
import { cacheLabel, type ExecutorContext, ephemeralLabel } from './context.ts';
import type { SourceFacts } from './execute-options.ts';

/**
 * What an action's inputs take from its source. A snapshot that an action made stands for that action's key; one that a user took, for
 * its content.
 *
 * @throws AlcoveError `ImageNotFound`, `SnapshotNotFound`, `ParentNotCached`
 */
export async function sourceFacts(
  { runtime, images }: ExecutorContext,
  action: Action,
  options: { signal?: AbortSignal; onProgress?: (step: string) => void },
): Promise<SourceFacts> {
  const { source } = action;
  if ('image' in source) {
    const { signal, onProgress } = options;
    const image = await images.resolve(source.image, {
      ...(signal && { signal }),
      ...(onProgress && { onProgress: ({ step }) => onProgress(step) }),
    });
    const { env, workdir, user } = image.config;
    return {
      identity: { image: image.digest },
      env,
      ...(workdir && { workdir }),
      ...(user && { user }),
      machine: { ...defaultMachine, ...action.limits },
    };
  }
  const facts = runtime.snapshots.facts(source.snapshot);
  const { labels, env, workdir, user, machine } = facts;
  const made = labels[cacheLabel];
  if (made === ephemeralLabel) throw parentNotCached(action, source.snapshot);
  return {
    identity: { parent: made ?? facts.digest },
    env,
    ...(workdir !== undefined && { workdir }),
    ...(user !== undefined && { user }),
    machine,
  };
}

/** What is not cached may be another thing the next time; what starts from it cannot be found again. */
function parentNotCached(action: Action, snapshot: string): AlcoveError<'ParentNotCached'> {
  const step = action.name ?? commandLabel(action.command);
  return new AlcoveError(
    'ParentNotCached',
    `"${step}" is to be cached, and starts from ${snapshot}, which an action made that is not`,
    { details: { step, parent: snapshot } },
  );
}
