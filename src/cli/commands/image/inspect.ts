import type { Command } from 'commander';
import { AlcoveError } from '../../../errors.ts';
import { addExamples, type Cli } from '../../action.ts';
import { formatAge, formatBytes } from '../../human.ts';
import { renderFacts } from '../../table.ts';

export function addImageInspectCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('inspect')
    .description('Show all that is known of an image.')
    .argument('<image>', 'reference, digest, or the first 8 or more digits of one')
    .action(
      cli.action(async (invocation, reference: string) =>
        invocation.withEngine(async (alcove) => {
          const image = await alcove.images.find(reference);
          if (!image) {
            throw new AlcoveError('ImageNotFound', `there is no image ${reference}`, {
              details: { reference },
            });
          }
          const { config } = image;
          await invocation.show(image, () =>
            renderFacts([
              ['digest', image.digest],
              ...image.references.map((name) => ['reference', name] as const),
              ['source', image.source],
              ['size', formatBytes(image.sizeBytes)],
              ['user', config.user],
              ['workdir', config.workdir],
              ['entrypoint', config.entrypoint && JSON.stringify(config.entrypoint)],
              ['command', config.command && JSON.stringify(config.command)],
              ...Object.entries(config.env).map(([key, value]) => ['env', `${key}=${value}`] as const),
              ['created', formatAge(image.createdAtMs, invocation.io.clock.now())],
              ['file', image.rootfsPath],
            ]),
          );
          return 0;
        }),
      ),
    );
  addExamples(command, [['alcove image inspect builtin', 'What it runs, as whom, and where its file lies.']]);
}
