import { type Command, Option } from 'commander';
import type { SnapshotRef } from '../vm/index.ts';
import { addCacheOptions, type CacheFlags } from './cached/cache-options.ts';
import { addInjectOptions, type InjectFlags } from './cached/inject-options.ts';
import { addCommandOptions, type CommandFlags } from './command-options.ts';
import { invalidFlag } from './invalid-flag.ts';
import type { CliIo } from './io.ts';
import { addEnvironment } from './parse-assignment.ts';
import { type CopyPair, parseCopyIn, parseCopyOut } from './parse-copy.ts';
import { parseSnapshotRef } from './snapshot-ref.ts';
import { addVmOptions, type VmFlags } from './vm-options.ts';

/** The flags of `alcove run`, and of `alcove cache explain`, which says what that would do. */
export interface RunFlags extends VmFlags, CommandFlags, InjectFlags, CacheFlags {
  from?: SnapshotRef;
  secret?: Record<string, string>;
  copyIn?: CopyPair[];
  copyOut?: CopyPair[];
}

export function addRunOptions(command: Command, io: Pick<CliIo, 'env'>): void {
  addVmOptions(command);
  command.addOption(
    new Option('--from <snapshot>', 'start from VM/SNAPSHOT in place of an image')
      .argParser(parseSnapshotRef)
      .helpGroup('Machine:'),
  );
  addCommandOptions(command, io);
  addInjectOptions(command);
  const flags = [
    new Option(
      '--secret <k[=v]>',
      'an environment variable that counts for the key and is never stored or shown; K alone passes on yours; may be repeated',
    ).argParser((text, before: Record<string, string> | undefined) =>
      addEnvironment('--secret', text, io.env, before),
    ),
    new Option(
      '--copy-in <src:dst>',
      'copy a file or folder of this host into the VM first; may be repeated',
    ).argParser((text, before: CopyPair[] = []) => [...before, parseCopyIn('--copy-in', text)]),
    new Option(
      '--copy-out <src:dst>',
      'copy a file or folder out of the VM afterwards; may be repeated',
    ).argParser((text, before: CopyPair[] = []) => [...before, parseCopyOut('--copy-out', text)]),
  ];
  for (const flag of flags) command.addOption(flag.helpGroup('Command:'));
  addCacheOptions(command);
}

/** @throws AlcoveError `InvalidInput` for flags that shape a machine that is there already */
export function refuseShapeWithFrom(flags: RunFlags): void {
  if (flags.from === undefined) return;
  const { image, cpus, memory, disk, network, kernel, modules, initramfs, bootArg } = flags;
  refuseAny(
    {
      '--image': image,
      '--cpus': cpus,
      '--memory': memory,
      '--disk': disk,
      '--network': network,
      '--kernel': kernel,
      '--modules': modules,
      '--initramfs': initramfs,
      '--boot-arg': bootArg,
    },
    'the snapshot of --from brings its own machine and image',
    (flag) => `Leave out --from or ${flag}.`,
  );
}

/** Refuses the first of these flags that is given. @throws AlcoveError `InvalidInput` */
export function refuseAny(
  given: Readonly<Record<string, unknown>>,
  why: string,
  remedy: (flag: string) => string,
): void {
  const flag = Object.keys(given).find((name) => given[name] !== undefined);
  if (flag !== undefined) throw invalidFlag(flag, why, remedy(flag));
}
