import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { builtAgentPath } from '../../src/images/index.ts';
import { run } from './in-guest.ts';
import { type MachineFixture, openMachineFixture } from './machine-fixture.ts';
import { type DriveFiles, WaitingMachine } from './waiting-machine.ts';

const serials = { lowerSerial: 'alcove-image', upperSerial: 'alcove-disk' };

/** One machine, from boot to the end. */
describe('a guest that rehearses', { sequential: true }, () => {
  let fixture: MachineFixture;
  let machine: WaitingMachine;
  let practice: DriveFiles;
  let real: DriveFiles;

  beforeAll(async () => {
    fixture = await openMachineFixture();
    practice = makeDrives('practice', [
      ['no-op', { copyOf: builtAgentPath }],
      ['link', { linkTo: 'no-op' }],
      ['etc/hostname', 'x\n'],
    ]);
    real = makeDrives('real', [
      ['bin/busybox', { copyOf: '/bin/busybox' }],
      ['bin/sh', { linkTo: 'busybox' }],
      ['mine', 'image\n'],
    ]);
    machine = await WaitingMachine.boot(fixture, 'rehearsing');
  });
  afterAll(async () => {
    await machine?.[Symbol.asyncDispose]();
    fixture?.expectNothingLeft();
    fixture?.close();
  });

  test('on disks that hold nothing fails, with what is wrong', async () => {
    await expect(machine.guest.rehearse(serials)).rejects.toMatchObject({
      code: 'GuestFile',
      message: expect.stringMatching(/squashfs/),
      details: { errno: 'EINVAL' },
    });
  });

  test('on disks that are not there fails', async () => {
    await expect(machine.guest.rehearse({ upperSerial: 'nobody' })).rejects.toMatchObject({
      code: 'GuestFile',
      details: { errno: 'ENODEV' },
    });
    await expect(machine.guest.rehearse({ lowerSerial: 'alcove-image' })).rejects.toMatchObject({
      code: 'InvalidInput',
    });
  });

  test('is not set up by it, and can do it again', async () => {
    await machine.swap(practice);
    await machine.guest.rehearse(serials);
    await machine.guest.rehearse(serials);
    await machine.guest.rehearse({});
    await expect(machine.guest.exec({ command: ['/no-op'] })).rejects.toMatchObject({
      code: 'GuestUnreachable',
    });
  });

  test('gives up at once when it is told to', async () => {
    const given = new AbortController();
    const rehearsal = machine.guest.rehearse(serials, { signal: given.signal });
    given.abort();
    await expect(rehearsal).rejects.toMatchObject({ code: 'Cancelled' });
  });

  test('is set up afterwards on other disks, of which it sees what they hold', async () => {
    await machine.swap(real);
    await machine.guest.setup({
      ...serials,
      identity: { hostname: 'somebody', machineId: 'a'.repeat(32) },
      unixMs: Date.now(),
      entropy: randomBytes(64),
      network: { address: '10.0.2.15/24', gateway: '10.0.2.2', dns: [], mac: '52:54:00:12:34:56' },
    });
    const seen = await run(
      machine.guest,
      'busybox hostname; busybox cat /etc/hostname /etc/machine-id /mine /real-disk; busybox ls /; busybox grep -c -E " (squashfs|ext4|overlay) " /proc/mounts',
    );
    const root = 'bin\ndev\netc\nmine\nproc\nreal-disk\nrun\nsys\n';
    expect(seen).toBe(`somebody\nsomebody\n${'a'.repeat(32)}\nimage\ndisk\n${root}1\n`);
  });

  test('is on the network as who it is, and as nobody else', async () => {
    const seen = await run(
      machine.guest,
      'busybox cat /sys/class/net/eth0/address; busybox ip -4 -o addr show eth0; busybox ip route; busybox ping -c 1 -w 10 10.0.2.2',
    );
    expect(seen).toMatch(/^52:54:00:12:34:56\n.* inet 10\.0\.2\.15\/24 .*\ndefault via 10\.0\.2\.2 /);
    expect(seen).not.toContain('192.0.2');
  });

  test('has no process and no control group of it left', async () => {
    const left = 'busybox ps -o args | busybox grep -c -E "[n]o-op|[r]ehearse" || :';
    await expect.poll(() => run(machine.guest, left)).toBe('0\n');
    // The command's own, and the one that is kept ready for the next.
    const groups = 'set -- /sys/fs/cgroup/alcove/*/; echo $#';
    // The group of a command goes after its result was told.
    await expect.poll(async () => Number(await run(machine.guest, groups))).toBeLessThanOrEqual(2);
  });

  test('can be rehearsed when it is somebody, without a trace in its root', async () => {
    const tree = 'busybox find / -xdev | busybox sort | busybox md5sum; busybox hostname';
    const before = await run(machine.guest, tree);
    await machine.guest.rehearse({});
    expect(await run(machine.guest, tree)).toBe(before);
    await expect(machine.guest.rehearse(serials)).rejects.toMatchObject({ code: 'InvalidInput' });
    expect(await run(machine.guest, 'echo still here')).toBe('still here\n');
  });

  /** An image with these files, and a disk with the file `<name>-disk`. */
  function makeDrives(
    name: string,
    files: readonly (readonly [path: string, content: string | { copyOf: string } | { linkTo: string }])[],
  ): DriveFiles {
    const dir = join(fixture.stateDir.tmpDir, name);
    for (const [path, content] of files) {
      const to = join(dir, path);
      mkdirSync(dirname(to), { recursive: true });
      if (typeof content === 'string') writeFileSync(to, content);
      else if ('linkTo' in content) symlinkSync(content.linkTo, to);
      else copyFileSync(content.copyOf, to);
    }
    const [image, disk, upper] = [`${dir}.squashfs`, `${dir}.ext4`, `${dir}-disk`];
    execFileSync('mksquashfs', [dir, image, '-comp', 'lz4', '-all-root', '-quiet', '-no-progress']);
    mkdirSync(join(upper, 'upper'), { recursive: true });
    writeFileSync(join(upper, 'upper', `${name}-disk`), 'disk\n');
    execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', upper, disk, '64M']);
    return { image, disk };
  }
});
