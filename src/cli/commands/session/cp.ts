import type { Command } from 'commander';
import { copyIn, copyOut } from '../../../guest/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { invalidFlag } from '../../invalid-flag.ts';
import type { Invocation } from '../../invocation.ts';
import { parseSessionCopySide } from '../../parse-copy.ts';
import { type LeaseFlags, waitOption, withLease } from '../../session/with-lease.ts';

export function addSessionCpCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('cp')
    .description(
      'Copy a file or folder between this host and a session. One side is SESSION:PATH; a path that is not absolute is below /work. The rules are those of `alcove cp`. Copying in makes the session on first use.',
    )
    .argument('<src>', 'PATH, or SESSION:PATH')
    .argument('<dst>', 'PATH, or SESSION:PATH')
    .addOption(waitOption())
    .action(cli.action(cp));
  addExamples(command, [
    ['alcove session cp ./site web:', 'Into the session `web`, as site in /work.'],
    ['alcove session cp ./site/. web:', 'What is in ./site, right into /work.'],
    ['alcove session cp web:site/log ./log', 'Out of it.'],
  ]);
}

async function cp(
  invocation: Invocation,
  source: string,
  destination: string,
  flags: LeaseFlags,
): Promise<number> {
  const from = parseSessionCopySide('src', source);
  const to = parseSessionCopySide('dst', destination);
  const { signal, progress } = invocation;
  if (from.kind === to.kind) {
    throw invalidFlag(
      'dst',
      from.kind === 'host' ? 'neither side names a session' : 'both sides name a session',
      'Write one side as SESSION:PATH and the other as a path of this host.',
    );
  }
  return invocation.withEngine(async (alcove) => {
    if (from.kind === 'host' && to.kind === 'guest') {
      await withLease(
        invocation,
        alcove,
        { ...flags, sessionId: to.vmId, mode: 'shared' },
        async ({ vm }) => {
          progress.step(`copying to ${destination}`);
          await copyIn(vm, from.path, to.path, { signal });
        },
      );
    } else if (from.kind === 'guest' && to.kind === 'host') {
      // One that is not there has nothing to copy, and is not made for it.
      await alcove.sessions.inspect(from.vmId);
      await withLease(
        invocation,
        alcove,
        { ...flags, sessionId: from.vmId, mode: 'shared' },
        async ({ vm }) => {
          progress.step(`copying from ${source}`);
          await copyOut(vm, from.path, to.path, { signal });
        },
      );
    }
    return 0;
  });
}
