import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Alcove } from '../../../engine/alcove.ts';
import { addExamples, type Cli } from '../../action.ts';
import { invalidFlag } from '../../invalid-flag.ts';
import type { Invocation } from '../../invocation.ts';
import { writeStream } from '../../write-stream.ts';
import { writeWhole } from '../../write-whole.ts';

export function addCacheExportCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('export')
    .description(
      'Write cached results with their snapshots, and the images and kernels they need, to one file with a checksum, for another machine to import. Prints the name of the file.',
    )
    .argument('<file>', 'where to, in place of what is there; - for standard output')
    .argument('[key...]', 'keys, or as much of their beginning as no other has (default: all)')
    .action(cli.action(exportCache));
  addExamples(command, [
    ['alcove cache export cache.alcove', 'Everything.'],
    ['alcove cache export cache.alcove v1:3f2a v1:77ab', 'Two of them.'],
    ['alcove cache export - | ssh host alcove cache import -', 'To another host.'],
  ]);
}

async function exportCache(invocation: Invocation, output: string, given: string[]): Promise<number> {
  const { io, call, signal } = invocation;
  if (output === '') throw invalidFlag('file', 'the path is empty');
  if (output === '-' && io.terminal.isTerminal('stdout')) {
    throw invalidFlag(
      'file',
      'an archive is not shown on a terminal',
      'Name a file, or pipe it to a program.',
    );
  }
  return invocation.withEngine(async (alcove) => {
    const keys = given.length > 0 ? await wholeKeys(alcove, given) : undefined;
    const archive = alcove.cache.export({ ...call, ...(keys && { keys }) });
    if (output === '-') {
      for await (const chunk of archive) await writeStream(io.stdout, chunk, signal);
      return 0;
    }
    const file = resolve(output);
    const sizeBytes = await writeWhole(file, archive);
    await invocation.show({ file, sizeBytes }, () => output);
    return 0;
  });
}

/** @throws AlcoveError `CacheEntryNotFound` */
async function wholeKeys(alcove: Pick<Alcove, 'cache'>, given: readonly string[]): Promise<string[]> {
  const keys = new Set<string>();
  for (const prefix of given) keys.add((await alcove.cache.inspect(prefix)).key);
  return [...keys];
}
