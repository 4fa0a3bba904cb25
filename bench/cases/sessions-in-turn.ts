import { type Case, type Contender, timed } from '../measure.ts';
import type { Docker } from '../peers/docker.ts';
import { directory, engineForSessions, shellTrue, use } from './sessions.ts';

/** `ALCOVE_BENCH_SESSIONS` makes it shorter. */
const sessions = Number(process.env.ALCOVE_BENCH_SESSIONS ?? 50);
const room = Math.min(10, Math.ceil(sessions / 5));

/**
 * More sessions than there is room for, used one after the other: each use finds its session removed, and another's machine in the way.
 * That one is stopped, backed up and removed, and its own made from its backup.
 */
export const sessionsInTurn: Case = {
  title: 'sessions in turn',
  rounds: sessions,
  // Which make them.
  warmUps: sessions,
  rows: [
    {
      title: `use of one of ${sessions} sessions in turn, with room for ${room}`,
      unit: 'ms',
      ours: { contender: 'alcove' },
      peers: [
        {
          contender: 'docker',
          name: `docker stop, start, exec: ${sessions} kept containers, ${room} of them running`,
        },
      ],
    },
  ],
  async prepare(world, owned) {
    const backupDestination = directory(world, owned, 'backups');
    const options = { maxVms: room, backupDestination, stopIdleForRoom: 'yes' } as const;
    const alcove = owned.use(await engineForSessions(world, options));
    const docker = await world.docker();
    let turn = 0;
    return [
      {
        name: 'alcove',
        run: async () => {
          const id = `in-turn-${turn % sessions}`;
          // Each use finds what all before it left.
          const uses = Math.floor(turn / sessions);
          turn++;
          const command = `test "$(busybox cat uses 2>/dev/null)" = "${'x'.repeat(uses)}" && printf x >> uses`;
          return { total: await timed(() => use(alcove, id, command)) };
        },
      },
      ...(docker ? [containersInTurn(docker)] : []),
    ];
  },
};

function containersInTurn(docker: Docker): Contender {
  const kept: string[] = [];
  const running: string[] = [];
  let turn = 0;
  return {
    name: 'docker',
    run: async () => {
      const index = turn++ % sessions;
      const total = await timed(async () => {
        const oldest = running.length >= room ? running.shift() : undefined;
        if (oldest !== undefined) await docker.do('stop', oldest);
        const container = kept[index];
        if (container === undefined) kept[index] = await docker.start('--init');
        else await docker.do('start', container);
        running.push(kept[index] ?? '');
        await docker.exec(kept[index] ?? '', shellTrue);
      });
      return { total };
    },
  };
}
