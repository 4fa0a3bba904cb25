import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { AlcoveError } from '../errors.ts';
import { invalidSetting, Origins } from './origins.ts';
import { type Config, configSchema, environmentKeys } from './schema.ts';
import { readSessionsVariables } from './sessions-environment.ts';
import type { SessionsKey } from './sessions-section.ts';

export interface LoadConfigOptions {
  env?: NodeJS.ProcessEnv;
  /** What flags or library options say; goes over everything else. `undefined` values say nothing. */
  overrides?: {
    stateDir?: string | undefined;
    backend?: string | undefined;
    sessions?: readonly SessionsOverride[];
  };
}

export interface SessionsOverride {
  key: SessionsKey;
  /** In the key's unit; not checked yet. */
  value: unknown;
  /** The key as its user wrote it, e.g. `['sessions', 'maxVms']`. */
  name: readonly string[];
  /** Where it was said: `… in <where>`. */
  where: string;
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
  const origins = new Origins(path);
  takeOlderName(tree, path, origins);
  for (const [variable, keys] of Object.entries(environmentKeys)) {
    const value = env[variable];
    if (value === undefined || value === '') continue;
    origins.set(keys, { name: keys, where: variable });
    setKey(tree, keys, /^-?\d+$/.test(value) ? Number(value) : value);
  }
  for (const { key, value, variable, section } of readSessionsVariables(env)) {
    origins.set(['sessions', key], { name: [section, key], where: variable });
    setKey(tree, ['sessions', key], value);
  }
  for (const [key, value] of [
    ['state_dir', overrides.stateDir],
    ['backend', overrides.backend],
  ] as const) {
    if (value === undefined) continue;
    origins.set([key], { name: [key], where: 'the flags or options' });
    setKey(tree, [key], value);
  }
  for (const { key, value, name, where } of overrides.sessions ?? []) {
    origins.set(['sessions', key], { name, where });
    setKey(tree, ['sessions', key], value);
  }
  expandHome(tree, env);
  const parsed = configSchema.safeParse(tree);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const { name, where } = origins.of([...(issue?.path ?? []), ...(unknown === undefined ? [] : [unknown])]);
  throw invalidSetting(name, where, issue?.message ?? 'is not valid');
}

/** `[vm_pool]` is what `[sessions]` was called. */
function takeOlderName(tree: Tree, path: string, origins: Origins): void {
  const { vm_pool, ...rest } = tree;
  if (vm_pool === undefined) return;
  if (rest.sessions !== undefined)
    throw invalidSetting(['vm_pool'], path, 'is the older name of sessions, which is there too; keep one');
  delete tree.vm_pool;
  tree.sessions = vm_pool;
  origins.set(['sessions'], { name: ['vm_pool'], where: path });
}

function expandHome({ sessions }: Tree, env: NodeJS.ProcessEnv): void {
  if (!isTree(sessions)) return;
  const { backup_destination: given } = sessions;
  if (typeof given !== 'string' || !given.startsWith('~/')) return;
  sessions.backup_destination = join(env.HOME || homedir(), given.slice(2));
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
  if (tree[head] === undefined) tree[head] = {};
  const below = tree[head];
  // What is there and no table, the schema refuses.
  if (isTree(below)) setKey(below, [next, ...others], value);
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null;
}
