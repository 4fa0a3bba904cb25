import type { Command } from 'commander';
import { AlcoveError } from '../../../errors.ts';
import { addExamples, type Cli } from '../../action.ts';
import { formatAge, formatBytes } from '../../human.ts';
import { parseSnapshotRef } from '../../snapshot-ref.ts';
import { renderFacts } from '../../table.ts';

export function addSnapshotInspectCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('inspect')
    .description('Show all that is known of a snapshot.')
    .argument('<snapshot>', 'VM/SNAPSHOT')
    .action(
      cli.action(async (invocation, name: string) => {
        const ref = parseSnapshotRef(name);
        return invocation.withEngine(async (alcove) => {
          const snapshot = await alcove.snapshots.get(ref);
          if (!snapshot) {
            throw new AlcoveError('SnapshotNotFound', `there is no snapshot ${ref}`, { details: { ref } });
          }
          await invocation.show(snapshot, () =>
            renderFacts([
              ['snapshot', snapshot.ref],
              ['vm', snapshot.vm === 'here' ? snapshot.vmId : 'gone'],
              ['kind', snapshot.kind],
              ['parent', snapshot.parent],
              ['image', snapshot.imageDigest],
              ['stays', snapshot.lifetime],
              ['size', formatBytes(snapshot.sizeBytes)],
              ['own', `${formatBytes(snapshot.ownBytes)} that nothing else uses`],
              ['created', formatAge(snapshot.createdAtMs, invocation.io.clock.now())],
            ]),
          );
          return 0;
        });
      }),
    );
  addExamples(command, [['alcove snapshot inspect web/before', 'Its kind, parent and size.']]);
}
