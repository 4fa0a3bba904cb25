import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { Injection } from '../../executor/index.ts';
import { invalidFlag } from '../invalid-flag.ts';

/** A host folder, and where it goes when that is said. */
export interface InjectPlace {
  hostPath: string;
  guestPath?: string;
}

export interface InjectFlags {
  inject?: InjectPlace[];
  mirror?: true;
  gitignore?: boolean;
  workdir?: string;
}

/** Where a folder goes, and the command runs, when neither is said. */
export const defaultInjectPath = '/work';

export function addInjectOptions(command: Command): void {
  const flags = [
    new Option(
      '--inject <dir[:path]>',
      `copy what is in a host folder into the VM first, but for .git and what .gitignore names; without PATH to --workdir, else to ${defaultInjectPath}, where the command then runs; may be repeated`,
    ).argParser((text, before: InjectPlace[] = []) => [...before, parseInject(text)]),
    new Option('--mirror', 'also remove in the VM what is not in the folder'),
    new Option('--no-gitignore', 'inject what .gitignore names, too'),
  ];
  for (const flag of flags) command.addOption(flag.helpGroup('Command:'));
}

/** `DIR` or `DIR:/PATH`, split at the last `:/`. @throws AlcoveError `InvalidInput` */
export function parseInject(text: string): InjectPlace {
  const at = text.lastIndexOf(':/');
  if (at > 0) return { hostPath: text.slice(0, at), guestPath: text.slice(at + 1) };
  if (text === '' || at === 0) throw invalidFlag('--inject', 'the path of the folder is empty');
  const colon = text.lastIndexOf(':');
  if (colon < 0) return { hostPath: text };
  throw invalidFlag(
    '--inject',
    `"${text}": the path in the VM must be absolute`,
    `Write ${text.slice(0, colon)}:/${text.slice(colon + 1)}; a folder with ":" in its name needs a path after it.`,
  );
}

/** What to inject, and where the command runs. @throws AlcoveError `InvalidInput` */
export function injectionsOf(flags: InjectFlags): { inject: Injection[]; workdir?: string } {
  const { inject = [], mirror, gitignore, workdir } = flags;
  if (inject.length === 0) {
    const idle = mirror ? '--mirror' : gitignore === false ? '--no-gitignore' : undefined;
    if (idle) throw invalidFlag(idle, 'nothing is injected', 'Add --inject DIR.');
  }
  const homeless = inject.filter(({ guestPath }) => guestPath === undefined);
  if (homeless.length > 1) {
    throw invalidFlag(
      '--inject',
      `${homeless.map(({ hostPath }) => hostPath).join(' and ')} would go to the same place`,
      'Write DIR:/PATH.',
    );
  }
  const home = workdir ?? (homeless.length > 0 ? defaultInjectPath : undefined);
  return {
    inject: inject.map(({ hostPath, guestPath }) => ({
      from: resolve(hostPath),
      to: guestPath ?? home ?? defaultInjectPath,
      ...(mirror && { mirror }),
      ...(gitignore === false && { ignore: 'nothing' }),
    })),
    ...(home !== undefined && { workdir: home }),
  };
}
