import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { addImage } from '../../add-image.ts';

interface PullFlags {
  insecure?: true;
  name?: string;
}

export function addImagePullCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('pull')
    .description('Get an image from an OCI registry and print its digest.')
    .argument('<reference>', 'HOST/NAME:TAG or HOST/NAME@sha256:DIGEST')
    .option('--name <name>', 'a name for it, besides the reference')
    .option('--insecure', 'do not ask for TLS; for a registry on this host')
    .action(
      cli.action((invocation, reference: string, { insecure, name }: PullFlags) =>
        addImage(invocation, { kind: 'registry', reference, tls: insecure ? 'off' : 'verify' }, name),
      ),
    );
  addExamples(command, [
    ['alcove image pull debian:12', 'From the registry that short names stand for.'],
    [
      'alcove image pull --insecure localhost:5000/app:1 --name app',
      'From one without TLS, to be called `app`.',
    ],
  ]);
}
