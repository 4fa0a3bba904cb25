import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import type { ImageSource } from '../../../images/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { addImage } from '../../add-image.ts';
import { guessImageFormat, type ImageFormat, imageFormats } from '../../image-format.ts';
import { invalidFlag } from '../../invalid-flag.ts';
import type { Invocation } from '../../invocation.ts';

interface ImportFlags {
  name?: string;
  format?: ImageFormat;
  reference?: string;
}

export function addImageImportCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('import')
    .description('Make an image of a file or folder of this host and print its digest.')
    .argument('<path>', 'a root filesystem (tar or folder), OCI layout, OCI archive or Docker archive')
    .option('--name <name>', 'a name for it')
    .addOption(
      new Option('--format <format>', `${imageFormats.join(', ')} (default: as it looks)`).argParser(
        parseFormat,
      ),
    )
    .option('--reference <reference>', 'which image, where the archive or layout holds several')
    .action(cli.action(importImage));
  addExamples(command, [
    ['alcove image import rootfs.tar.gz --name base', 'A root filesystem.'],
    ['docker save app:1 -o app.tar && alcove image import app.tar --name app', 'An image of Docker’s.'],
    ['alcove image import ./layout --format oci-layout --reference app', 'One image of several.'],
  ]);
}

async function importImage(
  invocation: Invocation,
  given: string,
  { name, format, reference }: ImportFlags,
): Promise<number> {
  const path = resolve(given);
  return addImage(invocation, sourceOf(path, format ?? (await guessImageFormat(path)), reference), name);
}

function sourceOf(path: string, kind: ImageFormat, reference: string | undefined): ImageSource {
  if (kind !== 'tar' && kind !== 'directory') {
    return { kind, path, ...(reference !== undefined && { reference }) };
  }
  if (reference !== undefined) {
    throw invalidFlag(
      '--reference',
      `a root filesystem (${kind}) holds one image`,
      'Leave it out, or give --format.',
    );
  }
  return { kind, path };
}

function parseFormat(text: string): ImageFormat {
  const format = imageFormats.find((known) => known === text);
  if (format) return format;
  throw invalidFlag('--format', `"${text}" is not a format`, `Choose one of ${imageFormats.join(', ')}.`);
}
