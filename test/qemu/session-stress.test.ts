import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openAlcove } from '../../src/engine/index.ts';
import { numbers } from './seeded-numbers.ts';

/** The whole of it, 64 callers for 40 sessions with room for 8 for two minutes, takes ten; a part of it shows the same. */
const isWhole = process.env.ALCOVE_STRESS === 'whole';
const { callers, sessions, room } = isWhole
  ? { callers: 64, sessions: 40, room: 8 }
  : { callers: 12, sessions: 7, room: 3 };

/** Whether a caller goes on: for two minutes, or twice. */
function goesOn(turn: number, beganMs: number): boolean {
  return isWhole ? performance.now() - beganMs < 120_000 : turn < 2;
}

test(
  'callers that crowd sessions that crowd the pool: each effect is there once, in the order of asking',
  async () => {
    const stateDir = mkdtempSync(join(tmpdir(), 'alcove-stress-'));
    const backups = mkdtempSync(join(tmpdir(), 'alcove-backups-'));
    try {
      await using alcove = await openAlcove({
        stateDir,
        sessions: {
          maxVms: room,
          stopIdleForRoom: 'yes',
          backupDestination: backups,
          diskMiB: 256,
          memoryMiB: 192,
        },
      });
      const pool = alcove.sessions;
      const asked = new Map<string, string[]>();
      const done = new Map<string, string[]>();
      const random = numbers(42);
      const use = async (line: string) => {
        const id = `s${Math.floor(random.next().value * sessions)}`;
        asked.set(id, [...(asked.get(id) ?? []), line]);
        await using lease = await pool.acquire(id, { waitMs: 1_800_000 });
        // The first of a caller are alone in the session; none may overlap with another.
        await lease.exec(`test ! -e busy && touch busy && echo ${line} >> history && rm busy`, {
          nonZeroExit: 'error',
        });
        done.set(id, [...(done.get(id) ?? []), line]);
      };
      let most = 0;
      const watching = new AbortController();
      const watch = (async () => {
        while (!watching.signal.aborted) {
          const { places } = await pool.metrics();
          const machines = await alcove.list({ destroyed: 'leave-out' });
          most = Math.max(
            most,
            machines.filter(({ labels }) => labels['alcove.session']).length,
            places.taken,
          );
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      })();
      const beganMs = performance.now();
      await Promise.all(
        Array.from({ length: callers }, async (_, caller) => {
          for (let turn = 0; goesOn(turn, beganMs); turn++) await use(`${caller}-${turn}`);
        }),
      );
      watching.abort();
      await watch;
      expect(most).toBe(room);
      expect(done).toEqual(asked);
      for (const [id, lines] of done) {
        await using lease = await pool.acquire(id, { waitMs: 600_000 });
        expect((await lease.exec('cat history')).stdout, id).toBe(`${lines.join('\n')}\n`);
      }
      const { counts, waiting, leases } = await pool.metrics();
      expect({ waiting, leases }).toEqual({ waiting: { turn: 0, place: 0 }, leases: 0 });
      expect(counts.evictions).toBeGreaterThan(0);
      expect(counts.restored).toBeGreaterThan(0);
      for (const { id } of await pool.list()) await pool.terminate(id, { backups: 'remove' });
      expect(await alcove.list({ destroyed: 'leave-out' })).toEqual([]);
    } finally {
      rmSync(stateDir, { recursive: true });
      rmSync(backups, { recursive: true });
    }
  },
  isWhole ? 3_600_000 : 240_000,
);
