import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { VmSpec } from '../vm/index.ts';
import { invalidFlag } from './invalid-flag.ts';
import { addAssignment } from './parse-assignment.ts';
import { parseCount } from './parse-count.ts';
import { parseSize } from './parse-size.ts';

/** The flags that shape a machine, of `alcove run` and `alcove vm create`. */
export interface VmFlags {
  /** Absent: the built-in one. */
  image?: string;
  cpus?: number;
  memory?: number;
  disk?: number;
  network?: 'none' | 'user';
  label?: Record<string, string>;
  kernel?: string;
  modules?: string;
  initramfs?: string;
  bootArg?: string[];
}

/** The image of whoever names none. */
export const defaultImage = 'builtin';

const mostCpus = 256;
const group = 'Machine:';

export function addVmOptions(command: Command): Command {
  command.addOption(imageOption().helpGroup(group));
  for (const flag of shapeOptions()) command.addOption(flag.helpGroup(group));
  command.addOption(labelOption().helpGroup(group));
  return command;
}

function imageOption(): Option {
  // Without a default of its own, so that one that was asked for can be told from one that was not.
  return new Option('--image <image>', 'reference or digest of an image').default(undefined, defaultImage);
}

/** The flags that say which machines can take one that was made ahead of need. */
export function shapeOptions(): Option[] {
  return [
    new Option('--cpus <n>', 'processors (default: 1)').argParser((text) =>
      parseCount('--cpus', text, mostCpus),
    ),
    new Option('--memory <size>', 'memory, e.g. 512M or 1G (default: 256M)').argParser((text) =>
      parseSize('--memory', text),
    ),
    new Option('--disk <size>', 'most that can be written, e.g. 4G (default: 2G)').argParser((text) =>
      parseSize('--disk', text),
    ),
    new Option(
      '--network <kind>',
      'none, or user: reach the network through this host (default: none)',
    ).argParser(parseNetwork),
    new Option('--kernel <file>', 'boot this bzImage').argParser(absolute),
    new Option('--modules <dir>', 'lib/modules/<release> of that kernel').argParser(absolute),
    new Option('--initramfs <file>', 'boot with this initramfs; it must hold the guest agent').argParser(
      absolute,
    ),
    new Option('--boot-arg <arg>', 'one more kernel argument; may be repeated').argParser(
      (text, before: string[] = []) => [...before, text],
    ),
  ];
}

/** `--label K=V`, repeated. */
export function labelOption(): Option {
  return new Option('--label <k=v>', 'a label; may be repeated').argParser(
    (text, before: Record<string, string> | undefined) => addAssignment('--label', text, before),
  );
}

export function vmSpecOf(flags: VmFlags): VmSpec {
  const { image = defaultImage, label } = flags;
  return { image, ...shapeOf(flags), ...(label !== undefined && { labels: label }) };
}

export function shapeOf(flags: Omit<VmFlags, 'image' | 'label'>): Omit<VmSpec, 'image'> {
  const { cpus, memory, disk, network, kernel, modules, initramfs, bootArg } = flags;
  return {
    ...(cpus !== undefined && { cpus }),
    ...(memory !== undefined && { memoryMiB: memory }),
    ...(disk !== undefined && { diskMiB: disk }),
    ...(network !== undefined && { network }),
    ...(kernel !== undefined && { kernel }),
    ...(modules !== undefined && { modules }),
    ...(initramfs !== undefined && { initramfs }),
    ...(bootArg !== undefined && { bootArgs: bootArg }),
  };
}

function parseNetwork(text: string): 'none' | 'user' {
  if (text === 'none' || text === 'user') return text;
  throw invalidFlag('--network', `"${text}" is not a network`, 'Choose none or user.');
}

/** Commander passes the value before, too, which `resolve` would take for a path. */
function absolute(path: string): string {
  return resolve(path);
}

export type MemoryChoice = 'include' | 'exclude';

/** `--memory include|exclude`. */
export function memoryOption(description: string): Option {
  return new Option('--memory <choice>', description)
    .choices(['include', 'exclude'])
    .default(undefined, 'include');
}
