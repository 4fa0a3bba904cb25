import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { AlcoveError } from '../errors.ts';
import { type Config, configSchema, environmentKeys } from './schema.ts';

export interface LoadConfigOptions {
  env?: NodeJS.ProcessEnv;
  /** What flags or library options say; goes over everything else. `undefined` values say nothing. */
  overrides?: { stateDir?: string | undefined; backend?: string | undefined };
}

type Tree = { [key: string]: unknown };

/**
 * The settings in force: defaults, under the file (`$ALCOVE_CONFIG`, or `$XDG_CONFIG_HOME/alcove/config.toml`), under
 * environment variables, under overrides.
 *
 * @throws AlcoveError `InvalidInput` naming the key, and where it was set
 */
export function loadConfig({ env = process.env, overrides = {} }: LoadConfigOptions = {}): Config {
  const { path, tree } = readFile(env);
  const origin = new Map<string, string>();
  for (const [variable, keys] of Object.entries(environmentKeys)) {
    const value = env[variable];
    if (value === undefined || value === '') continue;
    origin.set(keys.join('.'), variable);
    setKey(tree, keys, /^-?\d+$/.test(value) ? Number(value) : value);
  }
  if (overrides.stateDir !== undefined) setKey(tree, ['state_dir'], overrides.stateDir);
  if (overrides.backend !== undefined) setKey(tree, ['backend'], overrides.backend);
  const parsed = configSchema.safeParse(tree);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const field = [...(issue?.path ?? []), ...(unknown ? [unknown] : [])].join('.');
  throw new AlcoveError('InvalidInput', `${field} in ${origin.get(field) ?? path}: ${issue?.message}`, {
    details: { field },
  });
}

function readFile(env: NodeJS.ProcessEnv): { path: string; tree: Tree } {
  const home = env.XDG_CONFIG_HOME || join(env.HOME || homedir(), '.config');
  const path = env.ALCOVE_CONFIG || join(home, 'alcove', 'config.toml');
  try {
    return { path, tree: parse(readFileSync(path, 'utf8')) };
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (absent && !env.ALCOVE_CONFIG) return { path, tree: {} };
    const [reason] = (error as Error).message.split('\n');
    throw new AlcoveError('InvalidInput', `cannot read ${path}: ${reason}`, {
      cause: error,
      details: { field: path },
    });
  }
}

function setKey(tree: Tree, [head, ...rest]: readonly [string, ...string[]], value: unknown): void {
  const [next, ...others] = rest;
  if (next === undefined) {
    tree[head] = value;
    return;
  }
  const below = tree[head];
  const subtree: Tree = typeof below === 'object' && below !== null ? (below as Tree) : {};
  tree[head] = subtree;
  setKey(subtree, [next, ...others], value);
}
