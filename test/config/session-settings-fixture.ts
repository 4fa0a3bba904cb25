import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { loadConfig } from '../../src/config/index.ts';
import { sessionOptionsOf, sessionsOverrides } from '../../src/engine/session-settings.ts';
import { isAlcoveError } from '../../src/errors.ts';
import type { SessionOptions } from '../../src/sessions/index.ts';

const dir = mkdtempSync(join(tmpdir(), 'session-settings-'));
export const file = join(dir, 'config.toml');
afterAll(() => rmSync(dir, { recursive: true }));

/** What is said in each of the three places. */
export interface Said {
  toml?: string;
  env?: NodeJS.ProcessEnv;
  /** As from JavaScript, where no types hold. */
  asked?: object;
}

/** What the pool gets then. */
export function load({ toml = '', env = {}, asked }: Said): SessionOptions {
  writeFileSync(file, toml);
  const sessions = sessionsOverrides(asked as Partial<SessionOptions>);
  const config = loadConfig({
    env: { HOME: '/home/me', ALCOVE_CONFIG: file, ...env },
    overrides: { sessions },
  });
  return sessionOptionsOf(config);
}

/** The error's field and message; throws where nothing is refused. */
export function refusal(said: Said): { field: unknown; message: string } {
  try {
    load(said);
  } catch (error) {
    if (!isAlcoveError(error, 'InvalidInput')) throw error;
    return { field: error.details?.field, message: error.message };
  }
  throw new Error('it was not refused');
}
