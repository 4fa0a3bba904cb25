import type { Action, Injection } from '../action.ts';
import type { SourceFacts } from '../execute-options.ts';
import type { InjectedTree, Inputs, InputValue } from './inputs.ts';
import { treeInputNames } from './tree-inputs.ts';

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
export function inputsOf(action: Action, facts: KeyFacts): Inputs {
  const { source, backend, architecture, files = {}, trees = [] } = facts;
  const texts: Record<string, string> = {
    // As JSON a line for the shell and a program's name are two things.
    command: JSON.stringify(action.command),
    workdir: action.workdir || source.workdir || '(home)',
    user: action.user || source.user || 'root',
    backend,
    architecture,
    snapshot: action.memory ? 'disk+memory' : 'disk',
    ...source.identity,
    ...prefixed('machine.', { ...source.machine, ...action.limits }),
    ...prefixed('file.', files),
    ...treeTexts(action, trees),
  };
  const values: Record<string, InputValue> = {};
  for (const [name, text] of Object.entries(texts)) values[name] = { text };
  for (const [name, text] of Object.entries({ ...source.env, ...action.env }))
    values[`env.${name}`] = { text };
  for (const [name, text] of Object.entries(action.secrets ?? {}))
    values[`env.${name}`] = { text, secret: true };
  return { values, trees };
}

function prefixed(prefix: string, texts: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [prefix + name, String(text)]));
}

function treeTexts({ inject = [] }: Action, trees: readonly InjectedTree[]): Record<string, string> {
  const injections = [inject].flat() as Injection[];
  const names = treeInputNames(trees);
  return Object.fromEntries(
    trees.map((tree, index) => [
      names[index],
      [tree.digest, ...manner(injections[index], tree, index)].join(' '),
    ]),
  );
}

/** How a tree is copied where that is not the usual way. */
function manner(injection: Injection | undefined, { rules }: InjectedTree, index: number): string[] {
  const { uid = 0, gid = 0 } = injection?.owner ?? {};
  return [
    ...(rules === undefined ? [] : [`mirror(${rules.slice(0, 16)})`]),
    ...(uid === 0 && gid === 0 ? [] : [`owner(${uid}:${gid})`]),
    // What comes later may go over what came before.
    ...(index === 0 ? [] : [`after(${index})`]),
  ];
}
