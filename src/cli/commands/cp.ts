import type { Command } from 'commander';
import { copyIn, copyOut } from '../../guest/index.ts';
import { addExamples, type Cli } from '../action.ts';
import { invalidFlag } from '../invalid-flag.ts';
import type { Invocation } from '../invocation.ts';
import { parseCopySide } from '../parse-copy.ts';

export function addCpCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('cp')
    .description(
      'Copy a file or folder between this host and a running VM. One side is VM:/PATH. As with `docker cp`: into a folder ' +
        'that exists it goes under its own name, else under the new one; DIR/. means what is in it.',
    )
    .argument('<src>', 'PATH, or VM:/PATH')
    .argument('<dst>', 'PATH, or VM:/PATH')
    .action(cli.action(cp));
  addExamples(command, [
    ['alcove cp ./site web:/srv', 'Into the VM `web`, as /srv/site.'],
    ['alcove cp ./site/. web:/srv', 'What is in ./site, right into /srv.'],
    ['alcove cp web:/var/log/messages ./messages', 'Out of it.'],
  ]);
}

async function cp(invocation: Invocation, source: string, destination: string): Promise<number> {
  const from = parseCopySide('src', source);
  const to = parseCopySide('dst', destination);
  const { signal, progress } = invocation;
  if (from.kind === to.kind) {
    throw invalidFlag(
      'dst',
      from.kind === 'host' ? 'neither side names a VM' : 'both sides name a VM',
      'Write one side as VM:/PATH and the other as a path of this host.',
    );
  }
  return invocation.withEngine(async (alcove) => {
    if (from.kind === 'host' && to.kind === 'guest') {
      const vm = await alcove.vm(to.vmId);
      progress.step(`copying to ${destination}`);
      await copyIn(vm, from.path, to.path, { signal });
    } else if (from.kind === 'guest' && to.kind === 'host') {
      const vm = await alcove.vm(from.vmId);
      progress.step(`copying from ${source}`);
      await copyOut(vm, from.path, to.path, { signal });
    }
    return 0;
  });
}
