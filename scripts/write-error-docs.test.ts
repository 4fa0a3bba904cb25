import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { errorDocs } from './write-error-docs.ts';

test('docs/errors.md names every error as the table has it', () => {
  expect(readFileSync('docs/errors.md', 'utf8')).toBe(errorDocs());
});
