import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { formatAge, formatBytes, shortDigest } from '../../human.ts';
import { showList } from '../../show-list.ts';

export function addImageLsCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('ls')
    .description('List images.')
    .action(
      cli.action(async (invocation) =>
        invocation.withEngine(async (alcove) => {
          const images = await alcove.images.list();
          const now = invocation.io.clock.now();
          await showList(invocation, images, {
            name: (image) => image.references.at(-1) ?? image.digest,
            empty: 'No images yet. The built-in one is made at its first use: alcove run -- uname -a',
            columns: [
              { title: 'REFERENCES', value: (image) => image.references.join(', ') || '-' },
              { title: 'DIGEST', value: (image) => shortDigest(image.digest) },
              { title: 'SIZE', value: (image) => formatBytes(image.sizeBytes), align: 'right' },
              { title: 'CREATED', value: (image) => formatAge(image.createdAtMs, now) },
            ],
          });
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove image ls', 'By reference.'],
    ['alcove image ls --json', 'With their configuration and full digests.'],
  ]);
}
