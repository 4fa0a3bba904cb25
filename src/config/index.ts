/** One schema of every setting; a file, the environment and flags, in that order. */
export { type LoadConfigOptions, loadConfig } from './load-config.ts';
export { type Config, configSchema, environmentKeys } from './schema.ts';
