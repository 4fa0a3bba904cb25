import type { Command } from 'commander';
import type { CacheEntryDetails } from '../../../executor/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { shortKey } from '../../cached/short-key.ts';
import { goneInWords } from '../../explanation/gone-in-words.ts';
import { inputLabel } from '../../explanation/input-label.ts';
import { formatAge, formatBytes, formatElapsed, shortDigest } from '../../human.ts';
import { printable } from '../../printable.ts';
import { renderFacts } from '../../table.ts';

/** Lines of each stream that are shown. */
const mostLines = 10;

export function addCacheInspectCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('inspect')
    .description(
      'Show all that is known of a key: its snapshot, what it was made of, and the end of what it printed.',
    )
    .argument('<key>', 'a key, or as much of its beginning as no other has')
    .action(
      cli.action(async (invocation, key: string) =>
        invocation.withEngine(async (alcove) => {
          const entry = await alcove.cache.inspect(key);
          await invocation.show(entry, () => render(entry, invocation.io.clock.now()));
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove cache inspect v1:3f2a', 'What it depends on, and its output.'],
    ['alcove cache inspect v1:3f2a --json', 'All of it.'],
  ]);
}

function render(entry: CacheEntryDetails, now: number): string {
  const { key, name, snapshot, parent, sizeBytes, createdAtMs, lastUsedAtMs, hits, durationMs } = entry;
  const facts = renderFacts([
    ['key', key],
    ['name', name],
    ['snapshot', snapshot],
    ['parent', parent],
    ['size', formatBytes(sizeBytes)],
    ['created', formatAge(createdAtMs, now)],
    ['used', formatAge(lastUsedAtMs, now)],
    ['hits', String(hits)],
    ['took', formatElapsed(durationMs)],
    ['pinned', entry.pinnedBy.length > 0 ? entry.pinnedBy.join(', ') : undefined],
    ['since', entry.history && goneInWords(entry.history, now)],
  ]);
  const blocks = [facts, ...inputsOf(entry), ...outputOf('stdout', entry), ...outputOf('stderr', entry)];
  return blocks.join('\n\n');
}

function inputsOf({ inputs }: CacheEntryDetails): string[] {
  if (!inputs) return ['made of  what its caller knows: the key is the caller’s'];
  const files = new Map(inputs.trees.map((tree) => [`inject.${tree.to}`, tree.entries.length]));
  const rows = Object.entries(inputs.values).map(([input, value]): [string, string] => {
    const text = 'text' in value ? shownValue(input, value.text) : '(hidden)';
    const count = files.get(input);
    return [`  ${inputLabel(input)}`, count === undefined ? text : `${count} entries, ${text}`];
  });
  return [`made of\n${renderFacts(rows)}`];
}

function shownValue(input: string, text: string): string {
  return input === 'parent' ? shortKey(text) : shortDigest(text);
}

function outputOf(stream: 'stdout' | 'stderr', entry: CacheEntryDetails): string[] {
  const lines = printable(entry[stream]).replace(/\n$/, '').split('\n');
  if (lines.length === 1 && lines[0] === '') return [];
  const shown = lines.slice(-mostLines);
  const title =
    shown.length < lines.length ? `${stream} (last ${shown.length} of ${lines.length} lines)` : stream;
  return [[title, ...shown.map((line) => `  ${line}`)].join('\n')];
}
