import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/host/index.ts';
import type { VmRuntime } from '../../src/vm/index.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { countOf, digestOf, furnish, sh } from './witness.ts';

/** How many copies of one snapshot are looked at. All are alive in turn, in batches of so many. */
const copies = Number(process.env.ALCOVE_COPIES ?? 100);
const batch = 4;

/** Reads the kernel's randomness all the time, and writes down each number with how many came before. */
const reader =
  'n=0; while :; do n=$((n + 1)); echo "$n $(head -c 16 /dev/urandom | od -An -tx1 | tr -d " \\n")"; done > /dev/shm/stream';

/**
 * One line each: a number of the reader's, a stream, an id, host name, machine id, MAC. The reader may have drawn its first number
 * before the snapshot and told it after; the second it drew alone.
 */
const who = [
  'n=$(($(cat /dev/shm/seen) + 2)); until test $(wc -l < /dev/shm/stream) -ge $n; do usleep 2000; done; sed -n "$n"p /dev/shm/stream',
  'head -c 32 /dev/urandom | od -An -tx1 | tr -d " \\n"; echo',
  'cat /proc/sys/kernel/random/uuid',
  'hostname',
  'cat /etc/machine-id',
  'cat /sys/class/net/eth0/address',
].join('; ');

describe('copies of one memory', { sequential: true }, () => {
  let fixture: RuntimeFixture;
  let runtime: VmRuntime;

  beforeAll(async () => {
    fixture = await openRuntimeFixture();
    runtime = await fixture.open();
    await runtime.create({ id: 'source', image: 'builtin', diskMiB: 64, memoryMiB: 128, network: 'user' });
    await runtime.start('source');
    await furnish(runtime, 'source');
  });
  afterAll(() => fixture?.finish(runtime));

  test('each is somebody else, and draws other numbers, whatever was reading them before', async () => {
    await runtime.spawn('source', { command: reader, detachedId: 'reader' });
    await sh(runtime, 'source', 'until test -s /dev/shm/stream; do usleep 2000; done');
    await hook('after-restore', 'wc -l < /dev/shm/stream > /dev/shm/seen');
    await runtime.snapshot('source', { id: 'base' });
    await sh(runtime, 'source', 'rm -r /etc/alcove/hooks');
    await runtime.stop('source', { memory: true });
    const seen: string[][] = [];
    for (let first = 0; first < copies; first += batch) {
      const ids = Array.from(
        { length: Math.min(batch, copies - first) },
        (_, index) => `copy-${first + index}`,
      );
      seen.push(
        ...(await Promise.all(
          ids.map(async (id) => {
            await runtime.restore('source/base', { id });
            await runtime.start(id);
            const lines = (await sh(runtime, id, who)).trim().split('\n');
            expect(lines[3]).toBe(id);
            return lines;
          }),
        )),
      );
      for (const id of ids) await runtime.destroy(id);
    }
    expect(seen).toHaveLength(copies);
    for (const [index, what] of [
      'read in a loop',
      'random',
      'uuid',
      'host name',
      'machine id',
      'MAC',
    ].entries())
      expect({ what, different: new Set(seen.map((lines) => lines[index])).size }).toEqual({
        what,
        different: copies,
      });
  }, 600_000);

  test('its clock is right after an hour in which it stood still', async () => {
    await runtime.start('source');
    await runtime.pause('source');
    await runtime.snapshot('source', { id: 'paused' });
    await runtime.resume('source');
    await runtime.close();
    const hour = 3_600_000;
    runtime = await fixture.open({ clock: { ...systemClock, now: () => Date.now() + hour } });
    await runtime.restore('source/paused', { id: 'late' });
    await runtime.start('late');
    const asked = Date.now() + hour;
    const told = Number(
      await sh(runtime, 'late', 'date +%s%3N 2>/dev/null | grep -x "[0-9]*" || date +%s000'),
    );
    expect(told).toBeGreaterThan(asked - 1000);
    expect(told).toBeLessThan(Date.now() + hour + 1000);
    await runtime.destroy('late');
  });

  test("a step of the user's own is done before anything else, and a start of which it fails leaves no trace", async () => {
    // Whether it fails is told by the clock, which is nothing that a start could leave behind. What it spoils on the disk is in no cache
    // of the guest's: were it left there, the next start would read it.
    const far = 4_100_000_000_000;
    await hook(
      'after-restore',
      'echo tried >> /root/tried; echo tried >> /dev/shm/tried; test $(date +%s) -gt 4000000000 && exit 0; dd if=/dev/zero of=/root/tree/file bs=100000 count=3 conv=notrunc; sync; exit 3',
    );
    const digest = await digestOf(runtime, 'source');
    await sh(runtime, 'source', 'sync; echo 3 > /proc/sys/vm/drop_caches');
    const count = await countOf(runtime, 'source');
    await runtime.snapshot('source', { id: 'hooked' });
    await runtime.restore('source/hooked', { id: 'copy' });
    await runtime.stop('source', { memory: true });
    for (const id of ['copy', 'source', 'copy', 'source']) {
      await expect(runtime.start(id)).rejects.toMatchObject({ code: 'GuestHookFailed' });
      expect((await runtime.get(id))?.status).not.toBe('running');
      await fixture.expectNothingUnlisted(runtime);
    }
    await runtime.close();
    runtime = await fixture.open({ clock: { ...systemClock, now: () => far } });
    for (const id of ['copy', 'source']) {
      await runtime.start(id);
      expect(await sh(runtime, id, 'cat /root/tried /dev/shm/tried; rm /root/tried')).toBe('tried\ntried\n');
      expect(await digestOf(runtime, id)).toBe(digest);
      await countOf(runtime, id, count);
    }
  });

  async function hook(kind: string, script: string): Promise<void> {
    const dir = `/etc/alcove/hooks/${kind}.d`;
    await sh(
      runtime,
      'source',
      `mkdir -p ${dir}; printf '#!/bin/sh\\n%s\\n' '${script}' > ${dir}/1; chmod +x ${dir}/1`,
    );
  }
});
