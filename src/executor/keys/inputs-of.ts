import type { Action } from '../action.ts';
import type { SourceFacts } from '../execute-options.ts';
import type { InjectedTree, Inputs } from './inputs.ts';

/** What an action's inputs take from elsewhere than the action. */
export interface KeyFacts {
  source: SourceFacts;
  /** Name of the backend, e.g. `qemu`. */
  backend: string;
  /** Of the guest, e.g. `x86_64`. */
  architecture: string;
  /** Of the policy: see `ResolvedKeyPolicy`. */
  files?: Readonly<Record<string, string>>;
  /** Of the action's injections, in their order. */
  trees?: readonly InjectedTree[];
}

/** Everything that decides what an action makes; see {@link Inputs}. */
export function inputsOf(_action: Action, _facts: KeyFacts): Inputs {
  throw new Error('to come');
}
