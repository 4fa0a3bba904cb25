#!/usr/bin/env node
/** table-facts [--json] FILE */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { formatFacts } from '../lib/format.js';
import { tableFacts } from '../lib/index.js';

try {
  const { values, positionals } = parseArgs({
    options: { json: { type: 'boolean' } },
    allowPositionals: true,
  });
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) throw new Error('usage: table-facts [--json] FILE');
  const facts = tableFacts([readFileSync(file, 'utf8')]);
  process.stdout.write(values.json ? `${JSON.stringify(facts)}\n` : formatFacts(facts));
} catch (error) {
  console.error(`table-facts: ${error.message}`);
  process.exitCode = 1;
}
