import { readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BackendVm, SnapshotSource } from '../../src/vm/index.ts';
import { checkFileSystem as checkSnapshot } from './file-system.ts';
import { run, startRequest } from './in-guest.ts';
import { type MachineFixture, openMachineFixture, pidOf } from './machine-fixture.ts';

/** One machine on its way through its life; every test goes on where the one before ended. Three boots. */
describe('one machine', { sequential: true }, () => {
  let fixture: MachineFixture;
  let vm: BackendVm;
  let live: SnapshotSource;

  beforeAll(async () => {
    fixture = await openMachineFixture();
    vm = await fixture.create('one');
  });
  afterAll(async () => {
    await vm?.destroy();
    fixture?.expectNothingLeft();
    fixture?.close();
  });

  test('boots, takes commands, and is who it was told to be', async () => {
    expect(await vm.observe()).toBe('off');
    const request = startRequest('first');
    await vm.start(request);
    expect(await vm.observe()).toBe('running');
    expect(await run(vm, 'hostname; cat /etc/machine-id')).toBe(`first\n${request.machineId}\n`);
    expect(Math.abs(Number(await run(vm, 'date +%s')) - Date.now() / 1000)).toBeLessThan(5);
    expect(await vm.guest()).toBe(await vm.guest());
  });

  test('its process has given up what it does not need', () => {
    const pid = pidOf(vm);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    expect(status).toMatch(/^Seccomp:\t2$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    if (process.getuid?.() === 0) {
      const uid = Number(/^Uid:\t(\d+)/m.exec(status)?.[1]);
      expect(uid).toBeGreaterThanOrEqual(10_000);
      expect(status).toMatch(new RegExp(`^Uid:(\t${uid}){4}$`, 'm'));
      expect(status).toMatch(new RegExp(`^Gid:(\t${uid}){4}$`, 'm'));
      expect(status).toMatch(/^CapEff:\t0+$/m);
      const jail = readlinkSync(`/proc/${pid}/root`);
      expect(jail).toBe(join(fixture.stateDir.vmsDir, 'one/machine/jail'));
      expect(readdirSync(jail).every((name) => /^\d+\.qcow2$|^image\.squashfs$/.test(name))).toBe(true);
      expect(statSync(jail).uid).toBe(0);
    }
    expect(vm.handle).toMatchObject({ confinement: { seccomp: 'on', limits: expect.any(String) } });
  });

  test('its process is within limits', () => {
    const limits = String((vm.handle.confinement as { limits: string }).limits);
    const groups = readFileSync(`/proc/${pidOf(vm)}/cgroup`, 'utf8');
    if (limits.startsWith('cgroup')) expect(groups).toMatch(/\/alcove-[0-9a-f]{12}-[0-9a-f]{16}$/m);
    else expect(readFileSync(`/proc/${pidOf(vm)}/limits`, 'utf8')).toMatch(/^Max address space\s+\d+/m);
  });

  test('what the guest prints on its console is kept within a bound', async () => {
    await run(
      vm,
      'yes 0123456789012345678901234567890123456789 | head -c 600000 > /dev/ttyS0; echo END-MARK > /dev/ttyS0',
    );
    const text = await vm.console();
    expect(text.length).toBeLessThanOrEqual(256 * 1024);
    expect(text.trimEnd().endsWith('END-MARK')).toBe(true);
    expect(statSync(join(fixture.stateDir.vmsDir, 'one/console.log')).size).toBeLessThanOrEqual(256 * 1024);
  });

  test('stands still when paused, and knows the time afterwards', async () => {
    await vm.pause?.();
    expect(await vm.observe()).toBe('paused');
    await expect(vm.guest()).rejects.toMatchObject({ code: 'GuestUnreachable' });
    const paused = await fixture.snapshot(vm, 'paused');
    checkFileSystem(paused);
    await vm.resume?.();
    expect(await vm.observe()).toBe('running');
    await run(vm, 'echo after > /root/after-pause');
    expect(Math.abs(Number(await run(vm, 'date +%s')) - Date.now() / 1000)).toBeLessThan(5);
  });

  test('a snapshot under load has a sound file system and what was synced', async () => {
    await run(vm, 'echo kept > /root/kept; sync');
    const guest = await vm.guest();
    await using writer = await guest.exec({
      command:
        'i=0; while :; do dd if=/dev/urandom of=/root/load-$((i % 8)) bs=64k count=8 2>/dev/null; i=$((i+1)); echo $i; done',
    });
    const lines = writer.stdout[Symbol.asyncIterator]();
    await lines.next();
    live = await fixture.snapshot(vm, 'live');
    expect((await lines.next()).done).toBeFalsy();
    await writer.kill('SIGKILL');
    checkFileSystem(live);
    expect(await run(vm, 'cat /root/kept')).toBe('kept\n');
    expect(await run(vm, 'echo later > /root/kept; sync; cat /root/kept')).toBe('later\n');
  });

  test('when its process is killed it says so, and starts again with its disk as it was', async () => {
    const exited = new Promise<string>((resolve) => vm.onExit(resolve));
    process.kill(pidOf(vm), 'SIGKILL');
    expect(await exited).toMatch(/QEMU process died \(SIGKILL\)/);
    expect(await vm.observe()).toBe('off');
    await expect(vm.guest()).rejects.toMatchObject({ code: 'GuestUnreachable' });
    await vm.start(startRequest());
    expect(await run(vm, 'cat /root/kept /root/after-pause')).toBe('later\nafter\n');
  });

  test('stops cleanly, with nothing left outside its directory', async () => {
    await vm.stop({ graceMs: 2000 });
    expect(await vm.observe()).toBe('off');
    expect(await vm.console()).toContain('Power down');
    fixture.expectNothingLeft();
    checkFileSystem(await fixture.snapshot(vm, 'stopped'));
  });

  test('a restored copy has what the snapshot had, and needs neither it nor the first machine', async () => {
    const copy = await fixture.restore('copy', live);
    await vm.destroy();
    rmSync(join(fixture.stateDir.vmsDir, 'one'), { recursive: true });
    rmSync(live.dir, { recursive: true });
    try {
      await copy.start(startRequest('copy'));
      expect(await run(copy, 'hostname; cat /root/kept')).toBe('copy\nkept\n');
      await copy.stop({ graceMs: 0 });
    } finally {
      await copy.destroy();
      await copy.destroy();
    }
  });

  const checkFileSystem = ({ dir }: SnapshotSource) => checkSnapshot(dir, fixture.stateDir.tmpDir);
});
