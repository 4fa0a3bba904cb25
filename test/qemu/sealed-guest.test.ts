import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type GuestChannel, type GuestRenewal, runCommand } from '../../src/guest/index.ts';
import type { BackendVm } from '../../src/vm/index.ts';
import { run, startRequest } from './in-guest.ts';
import { type MachineFixture, openMachineFixture } from './machine-fixture.ts';

/** One machine, sealed again and again. Each test leaves it going. */
describe('a sealed guest', { sequential: true }, () => {
  let fixture: MachineFixture;
  let vm: BackendVm;
  let guest: GuestChannel;

  beforeAll(async () => {
    fixture = await openMachineFixture();
    vm = await fixture.create('sealed', { network: 'user' });
    await vm.start(startRequest('first'));
  });
  afterAll(async () => {
    await vm?.destroy();
    fixture?.expectNothingLeft();
    fixture?.close();
  });
  beforeEach(async () => {
    guest = await vm.guest();
    await guest.thaw().catch(() => guest.renew(renewal(0))); // A test that failed may have left it sealed.
  });

  const seal = (maxMs = 60_000) => guest.freeze({ processes: 'freeze', maxMs });

  /** What every copy of the guest sees, and an engine that was restarted: another line than the one that sealed it. */
  async function loseLine(): Promise<void> {
    await guest[Symbol.asyncDispose]();
    guest = await vm.guest();
  }

  /** Until the guest's own clock has gone on by so much; the guest is asked again and again. */
  async function guestTime(ms: number): Promise<void> {
    const until = (await guest.usage()).uptimeMs + ms;
    while ((await guest.usage()).uptimeMs < until) await guest.ping();
  }

  function renewal(last: number, overrides: Partial<GuestRenewal> = {}): GuestRenewal {
    return {
      identity: { hostname: `copy-${last}`, machineId: randomBytes(16).toString('hex') },
      unixMs: Date.now(),
      entropy: randomBytes(64),
      network: {
        address: '10.0.2.15/24',
        gateway: '10.0.2.2',
        dns: ['10.0.2.3'],
        mac: `52:54:00:12:34:0${last}`,
      },
      ...overrides,
    };
  }

  test('stands still, with every process of every command, until it is thawed', async () => {
    const detached = await counting(guest, 'in-the-background');
    await using foreground = await counting(guest);
    await seal();
    const [before, alsoBefore] = [await foreground.last(), await detached.last()];
    await guestTime(300);
    expect([await foreground.last(), await detached.last()]).toEqual([before, alsoBefore]);
    await guest.thaw();
    await foreground.atLeast(before + 2);
    await detached.atLeast(alsoBefore + 2);
    await detached.kill();
  });

  test('takes what needs it going in, and does it afterwards', async () => {
    await seal();
    const data = randomBytes(200_000);
    const late = Promise.all([
      run(guest, 'echo late'),
      guest.files.write('/root/late', data),
      guest.listDetached().then((list) => list.length),
      guest.runHooks('after-snapshot'),
    ]);
    const state = settlement(late);
    const givenUp = new AbortController();
    const abandoned = guest.exec({ command: 'touch /root/abandoned' }, { signal: givenUp.signal });
    abandoned.catch(() => undefined); // Looked at below.
    await guestTime(200);
    expect(state()).toBe('pending');
    givenUp.abort();
    await expect(abandoned).rejects.toMatchObject({ code: 'Cancelled' });
    await guest.setClock(Date.now());
    await guest.addEntropy(randomBytes(32));
    await guest.thaw();
    expect(await late).toMatchObject(['late\n', undefined, 1, undefined]);
    const written = await run(guest, 'sha256sum < /root/late; ls /root');
    const sum = execFileSync('sha256sum', { input: data, encoding: 'utf8' });
    expect(written).toBe(`${sum}late\n`);
  });

  test('has a frozen disk that was frozen before, too', async () => {
    await using command = await counting(guest);
    await guest.freeze({ maxMs: 60_000 });
    await command.atLeast((await command.last()) + 1);
    await seal();
    const before = await command.last();
    await guestTime(100);
    expect(await command.last()).toBe(before);
    await guest.thaw();
  });

  test('keeps to the deadline of a command', async () => {
    const command = await guest.exec({
      command: 'trap "" TERM; echo $$; sleep 1000',
      timeoutMs: 300,
      graceMs: 100,
    });
    await firstLine(command.stdout);
    await seal();
    expect(await command.exited).toMatchObject({ timedOut: true, signal: 'SIGKILL' });
    await guest.thaw();
  });

  test('whose line was lost is not thawed, but renewed: commands of the line are dead, others go on then', async () => {
    const detached = await counting(guest, 'survivor');
    const foreground = await guest.exec({
      // Its end is a write to the frozen disk: the file goes when nobody has it open any more.
      command:
        'exec 3> /root/deleted; rm /root/deleted; echo $$; head -c 100000 /dev/zero >&3; exec sleep 1000',
    });
    const pid = Number(await firstLine(foreground.stdout));
    await seal();
    const before = await detached.last();
    await loseLine();
    await expect(guest.thaw()).rejects.toMatchObject({ code: 'InvalidInput', details: { field: 'thaw' } });
    await seal();
    await expect(guest.thaw()).rejects.toMatchObject({ code: 'InvalidInput' });
    const waiting = run(guest, `test ! -e /proc/${pid} && hostname`);
    const state = settlement(waiting);
    await guestTime(200);
    expect(state()).toBe('pending');
    expect(await guest.renew(renewal(1))).toEqual({ hooks: 'none' });
    expect(await waiting).toBe('copy-1\n');
    const again = await attached(guest, 'survivor');
    expect((await again.numbers())[0]).toBeLessThanOrEqual(before + 2);
    await again.atLeast(before + 2);
    await again.kill();
    await guest.thaw();
  });

  test('becomes somebody else each time it is renewed, and reaches the network as that', async () => {
    const seen = [];
    for (const last of [2, 3]) {
      await seal();
      await loseLine();
      const next = renewal(last);
      await guest.renew(next);
      const lines = await run(
        guest,
        'hostname; cat /etc/hostname /etc/machine-id /sys/class/net/eth0/address; grep -c "" /etc/resolv.conf; date +%s; head -c 16 /dev/urandom | md5sum',
      );
      const [hostname, file, machineId, mac, servers, seconds, random] = lines.split('\n');
      expect([hostname, file, machineId, mac, servers]).toEqual([
        next.identity.hostname,
        next.identity.hostname,
        next.identity.machineId,
        next.network?.mac,
        '1',
      ]);
      expect(Math.abs(Number(seconds) - Date.now() / 1000)).toBeLessThan(5);
      await run(guest, 'ping -c 1 -w 10 10.0.2.2');
      seen.push(random);
    }
    expect(new Set(seen).size).toBe(2);
  });

  test('that is not sealed is renewed in the same way', async () => {
    await guest.renew(renewal(4));
    expect(await run(guest, 'hostname; cat /sys/class/net/eth0/address')).toBe('copy-4\n52:54:00:12:34:04\n');
    await guest.setNetwork({
      address: '10.0.2.15/24',
      gateway: '10.0.2.2',
      dns: [],
      mac: '52:54:00:12:34:05',
    });
    expect(await run(guest, 'cat /sys/class/net/eth0/address; ip route')).toMatch(
      /^52:54:00:12:34:05\ndefault via 10\.0\.2\.2 /,
    );
  });

  test('that cannot be renewed stands still', async () => {
    await using command = await counting(guest);
    await run(guest, 'mv /dev/random /dev/elsewhere');
    await seal();
    const before = await command.last();
    await expect(guest.renew(renewal(6))).rejects.toThrow(/entropy/);
    const waiting = settlement(run(guest, 'true'));
    await guestTime(100);
    expect([waiting(), await command.last()]).toEqual(['pending', before]);
    await guest.thaw();
    expect(await run(guest, 'mv /dev/elsewhere /dev/random; hostname')).toBe('copy-4\n');
  });

  test('goes on by itself when nobody comes, with randomness of its machine; without any it stands still', async () => {
    await seal(50);
    await loseLine();
    await run(guest, 'mv /dev/hwrng /dev/elsewhere');
    await seal(50);
    const waiting = run(guest, 'hostname');
    const state = settlement(waiting);
    await guestTime(1_500);
    expect(state()).toBe('pending');
    await guest.renew(renewal(7));
    expect(await waiting).toBe('copy-7\n');
    await run(guest, 'mv /dev/elsewhere /dev/hwrng');
  });

  test('is not sealed when a process cannot stand still, and nothing is frozen then', async () => {
    await using command = await counting(guest);
    // Whoever writes to a frozen file system can be stopped by nobody.
    await run(guest, 'mkdir -p /mnt; mount -t ext4 /dev/vdb /mnt; fsfreeze --freeze /mnt');
    await using stuck = await guest.exec({ command: 'echo $$; echo x > /root/stuck' });
    const pid = Number(await firstLine(stuck.stdout));
    for (let state = ''; !state.includes('D (disk sleep)'); )
      state = await run(guest, `grep State /proc/${pid}/status`);
    await expect(seal()).rejects.toMatchObject({ code: 'GuestFile', details: { errno: 'ETIMEDOUT' } });
    await command.atLeast((await command.last()) + 1);
    await run(guest, 'fsfreeze --unfreeze /mnt; umount /mnt');
    expect(await stuck.exited).toMatchObject({ exitCode: 0 });
  });

  describe('and a process that got out of its control group', () => {
    let escapee: Uint8Array;

    beforeAll(() => {
      const dir = mkdtempSync(join(tmpdir(), 'alcove-escape-'));
      writeFileSync(join(dir, 'escape.c'), escapeSource);
      execFileSync('cc', ['-static', '-O1', '-o', join(dir, 'escape'), join(dir, 'escape.c')]);
      escapee = readFileSync(join(dir, 'escape'));
      rmSync(dir, { recursive: true });
    });
    beforeEach(() => guest.files.write('/root/escape', escapee, { mode: 0o755 }));

    test.each([['/'], ['/made-up/']])('to %s: it stands still too', async (place) => {
      await using command = await counting(guest, undefined, `exec /root/escape ${place}`);
      await seal();
      const before = await command.last();
      await guestTime(100);
      expect(await command.last()).toBe(before);
      await guest.thaw();
      await command.atLeast(before + 1);
    });

    test('it does not outlive the deadline of its command', async () => {
      const command = {
        command: '/root/escape / > /dev/null & echo $!; sleep 1000',
        timeoutMs: 300,
        graceMs: 0,
      };
      const error = await runCommand(guest, command).catch((e) => e);
      expect(error).toMatchObject({ code: 'CommandTimedOut' });
      const pid = Number(String(error.details.stdout));
      expect(pid).toBeGreaterThan(1);
      await run(guest, `test ! -e /proc/${pid}/exe`);
    });
  });

  describe('hooks', () => {
    const hook = (event: string, name: string, body: string, mode = 0o755) =>
      guest.files.write(`/etc/alcove/hooks/${event}.d/${name}`, `#!/bin/sh\n${body}\n`, { mode });

    beforeEach(async () => {
      await run(guest, 'rm -rf /etc/alcove /root/log; mkdir -p /etc/alcove/hooks/after-restore.d');
    });

    test('run in the order of their names, as root in /, knowing what for', async () => {
      for (const name of ['20-b', '10-a', '100', 'Z'])
        await hook('after-restore', name, `echo ${name} >> /root/log`);
      await hook(
        'after-restore',
        '0-env',
        'echo "$ALCOVE_HOOK $HOME $PATH $(pwd) $(id -u) $(cat | wc -c)" > /root/log; env | wc -l >> /root/log',
      );
      for (const name of ['.hidden', 'backup~'])
        await hook('after-restore', name, `echo ${name} >> /root/log`);
      await hook('after-restore', 'plain', 'echo plain >> /root/log', 0o644);
      await run(guest, 'mkdir /etc/alcove/hooks/after-restore.d/folder');
      await seal();
      expect(await guest.renew(renewal(8))).toEqual({ hooks: 'some' });
      await guest.runHooks('after-restore');
      const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
      // Beside the three, a shell sets PWD and SHLVL.
      expect(await run(guest, 'cat /root/log')).toBe(
        `after-restore /root ${path} / 0 0\n5\n10-a\n100\n20-b\nZ\n`,
      );
      await guest.runHooks('before-snapshot');
    });

    test('one that fails is told with its output, and those after it are not run', async () => {
      await hook('after-restore', '1', 'echo fine');
      await hook('after-restore', '2', 'head -c 10000 /dev/zero | tr "\\0" x; echo; echo broken >&2; exit 3');
      await hook('after-restore', '3', 'touch /root/log');
      const error = await guest.runHooks('after-restore').catch((e) => e);
      const path = '/etc/alcove/hooks/after-restore.d/2';
      expect(error).toMatchObject({ code: 'GuestHookFailed', details: { hook: path } });
      expect(error.message).toContain(`${path} ended with exit code 3: x`);
      expect(error.message).toMatch(/x\nbroken$/);
      expect(error.details.output).toMatch(/^x{4088}\nbroken\n$/);
      await run(guest, 'test ! -e /root/log');
    });

    test.each([
      ['is no program', 'garbage', /ENOEXEC/],
      ['is missing its interpreter', '#!/no/such\n', /ENOENT/],
      ['is killed', '#!/bin/sh\nkill -9 $$\n', /was ended by signal 9/],
    ])('one that %s fails', async (_how, content, message) => {
      await guest.files.write('/etc/alcove/hooks/after-restore.d/1', content, { mode: 0o755 });
      await expect(guest.runHooks('after-restore')).rejects.toThrow(message);
    });

    test('one that takes too long, or is given up, leaves nothing alive', async () => {
      await hook('after-restore', '1', 'sleep 1000 & setsid sleep 1001 & echo $! > /root/log; wait');
      await expect(guest.runHooks('after-restore', { timeoutMs: 500 })).rejects.toMatchObject({
        code: 'GuestHookFailed',
        message: expect.stringMatching(/not done 500 ms after the first began/),
      });
      await run(guest, 'test ! -e /proc/$(cat /root/log)/exe; rm /root/log');
      const given = new AbortController();
      const running = guest.runHooks('after-restore', { signal: given.signal });
      running.catch(() => undefined); // Looked at below.
      await run(guest, 'until test -s /root/log; do sleep 0.01; done');
      given.abort();
      await expect(running).rejects.toMatchObject({ code: 'Cancelled' });
      await run(guest, 'test ! -e /proc/$(cat /root/log)/exe');
    });

    test('what one leaves behind ends with it', async () => {
      await hook('after-restore', '1', 'sleep 1000 & echo $! > /root/log');
      await guest.runHooks('after-restore');
      await run(guest, 'test ! -e /proc/$(cat /root/log)/exe');
    });
  });

  test('whose line was lost shuts down without letting a process go on', async () => {
    await guest.exec({
      command: 'trap "touch /root/went-on; sync" TERM; while :; do sleep 0.01; done',
      detachedId: 'trap',
    });
    await run(guest, 'until grep -q sleep /proc/[0-9]*/comm; do :; done');
    await seal();
    await loseLine();
    await vm.stop({ graceMs: 5_000 });
    expect(await vm.observe()).toBe('off');
    expect(await vm.console()).toContain('Power down');
    await vm.start(startRequest('again'));
    guest = await vm.guest();
    await run(guest, 'test ! -e /root/went-on');
  });
});

/** A command that prints 1, 2, 3, … */
interface Counting extends AsyncDisposable {
  /** The numbers so far. What the guest had sent when it is called is among them. */
  numbers(): Promise<number[]>;
  last(): Promise<number>;
  atLeast(number: number): Promise<void>;
  kill(): Promise<void>;
}

async function counting(
  guest: GuestChannel,
  detachedId?: string,
  command = 'i=0; while :; do i=$((i + 1)); echo $i; usleep 5000; done',
): Promise<Counting> {
  const process = await guest.exec({ command, ...(detachedId !== undefined && { detachedId }) });
  const counts = read(guest, process);
  await counts.atLeast(3);
  return counts;
}

async function attached(guest: GuestChannel, id: string): Promise<Counting> {
  const counts = read(guest, await guest.attach(id));
  await counts.atLeast(1);
  return counts;
}

function read(guest: GuestChannel, process: Awaited<ReturnType<GuestChannel['exec']>>): Counting {
  let text = '';
  const reading = (async () => {
    for await (const chunk of process.stdout) text += chunk;
  })();
  reading.catch(() => undefined); // A line that is lost ends it.
  const parse = () => text.split('\n').slice(0, -1).map(Number);
  /** What was on its way is here when the guest has answered twice. */
  const numbers = async () => {
    for (let round = 0; round < 2; round++) await guest.ping();
    return parse();
  };
  const kill = async () => {
    await process.kill('SIGKILL');
    await process.exited;
  };
  return {
    numbers,
    last: async () => (await numbers()).at(-1) ?? 0,
    async atLeast(number) {
      while ((parse().at(-1) ?? 0) < number) await guest.ping();
    },
    kill,
    [Symbol.asyncDispose]: () => process[Symbol.asyncDispose](),
  };
}

async function firstLine(stream: AsyncIterable<Uint8Array>): Promise<string> {
  let text = '';
  for await (const chunk of stream) {
    text += chunk;
    if (text.includes('\n')) return text;
  }
  throw new Error(`no line in ${text}`);
}

/** How a promise stands when asked. */
function settlement(promise: Promise<unknown>): () => 'pending' | 'fulfilled' | 'rejected' {
  let state: 'pending' | 'fulfilled' | 'rejected' = 'pending';
  promise.then(
    () => {
      state = 'fulfilled';
    },
    () => {
      state = 'rejected';
    },
  );
  return () => state;
}

/** Leaves its cgroup for the one named, by the cgroup namespace of a thread of the kernel's, and counts there. */
const escapeSource = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int count, char **arguments) {
  char path[200];
  if (setns(open("/proc/2/ns/cgroup", O_RDONLY), CLONE_NEWCGROUP) != 0) return 1;
  snprintf(path, sizeof path, "/sys/fs/cgroup%s", arguments[1]);
  mkdir(path, 0755);
  snprintf(path, sizeof path, "/sys/fs/cgroup%scgroup.procs", arguments[1]);
  int procs = open(path, O_WRONLY);
  if (procs < 0 || write(procs, "0", 1) != 1) return 2;
  for (long n = 1;; n++) {
    printf("%ld\\n", n);
    fflush(stdout);
    usleep(5000);
  }
}
`;
