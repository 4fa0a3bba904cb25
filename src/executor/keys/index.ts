/** Keys of actions: what they depend on, and what is different from an earlier run. */
export { changesBetween } from './changes-between.ts';
export type { InjectedTree, InputChange, Inputs, InputValue, StoredInputs, TreeEntry } from './inputs.ts';
export { inputsOf, type KeyFacts } from './inputs-of.ts';
export { keyOf } from './key-of.ts';
export { type ResolvedKeyPolicy, resolveKeyPolicy } from './resolve-key-policy.ts';
export { storedInputs } from './stored-inputs.ts';
