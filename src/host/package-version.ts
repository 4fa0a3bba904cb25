import { readFileSync } from 'node:fs';
import { packagePath } from './package-path.ts';

/** Alcove's version, as its package says. */
export function packageVersion(): string {
  const text = readFileSync(packagePath('package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
