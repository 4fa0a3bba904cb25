import { z } from 'zod';
import { invalidSetting } from './origins.ts';
import { isSessionsKey, type SessionsKey, sessionsSection } from './sessions-section.ts';

/** Each with the section's name that it stands for. */
const prefixes = { ALCOVE_SESSIONS_: 'sessions', ALCOVE_VM_POOL_: 'vm_pool' } as const;

/** As TOML writes them. */
const decimal = /^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i;

export interface SessionsVariable {
  key: SessionsKey;
  /** Not checked yet. */
  value: unknown;
  variable: string;
  section: 'sessions' | 'vm_pool';
}

/**
 * What variables say about sessions: `ALCOVE_SESSIONS_<KEY>`, or by the older name `ALCOVE_VM_POOL_<KEY>`; lists and tables as JSON.
 * Empty ones say nothing.
 *
 * @throws AlcoveError `InvalidInput` for one of no known key, for a key under both names, for what is no JSON
 */
export function readSessionsVariables(env: NodeJS.ProcessEnv): SessionsVariable[] {
  const found = new Map<SessionsKey, SessionsVariable>();
  for (const [variable, text] of Object.entries(env)) {
    for (const [prefix, section] of Object.entries(prefixes)) {
      if (!text || !variable.startsWith(prefix)) continue;
      const key = variable.slice(prefix.length).toLowerCase();
      if (!isSessionsKey(key)) throw invalidSetting([section, key], variable, 'is no known key');
      const twin = found.get(key);
      if (twin)
        throw invalidSetting(
          [section, key],
          variable,
          `is set as ${twin.variable} too, which is the same key; keep one of them`,
        );
      found.set(key, { key, value: readValue(key, text, section, variable), variable, section });
    }
  }
  return [...found.values()];
}

/** What cannot be read as the key's type stays text, which the schema then refuses in its own words. */
function readValue(key: SessionsKey, text: string, section: string, variable: string): unknown {
  const type = typeOf(sessionsSection.shape[key]);
  if (type instanceof z.ZodNumber) return decimal.test(text) ? Number(text) : text;
  if (type instanceof z.ZodBoolean) return { true: true, 1: true, false: false, 0: false }[text] ?? text;
  if (type instanceof z.ZodString || type instanceof z.ZodEnum) return text;
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which may hold secrets.
    const example = type instanceof z.ZodRecord ? '{"NAME": "value"}' : '["one", "two"]';
    throw invalidSetting([section, key], variable, `must be JSON, e.g. ${example}`);
  }
}

function typeOf(schema: unknown): unknown {
  return schema instanceof z.ZodDefault || schema instanceof z.ZodOptional ? typeOf(schema.unwrap()) : schema;
}
