/** One schema of every setting; a file, the environment and flags, in that order. */
export { type LoadConfigOptions, loadConfig, type SessionsOverride } from './load-config.ts';
export { invalidSetting } from './origins.ts';
export { type Config, configSchema, environmentKeys } from './schema.ts';
export type { SessionsKey } from './sessions-section.ts';
