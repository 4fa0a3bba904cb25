/** Tars of a real guest: its overlay and ext4 have holes and reads past the page cache of their own. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GuestChannel } from '../../src/guest/index.ts';
import type { BackendVm } from '../../src/vm/index.ts';
import { run, startRequest } from './in-guest.ts';
import { type MachineFixture, openMachineFixture } from './machine-fixture.ts';

/** Files around the size from which they are read past the page cache, that end within a block or with one; and holes. */
const plant = `
mkdir -p /tree/d/empty; cd /tree
for size in 1048575 1048576 1048577 3000001 8388608; do head -c $size /dev/urandom > f$size; done
head -c 700 /dev/urandom > d/small; ln d/small hard; ln -s /etc/shadow link; mkfifo pipe
for at in 0 100 5000 500000; do dd if=/dev/urandom of=sparse bs=4096 count=1 seek=$at conv=notrunc; done
truncate -s 2147483648 sparse; truncate -s 100000000 hole
chmod 4711 d/small; chmod 1777 d/empty; chown 123:456 hole; touch -d @1500000000 d/empty
sync; echo 3 > /proc/sys/vm/drop_caches`;

/** Kinds, modes, owners, sizes, blocks, times and links of what is there, and digests of all but the largest. */
const look = (dir: string) => `
cd ${dir}; find . | sort | xargs stat -c '%n %A %u:%g %s %h %Y'; stat -c '%n %b' sparse hole
sha256sum f* d/small; readlink link; for at in 0 100 5000 500000; do dd if=sparse bs=4096 count=1 skip=$at | sha256sum; done`;

describe('a tree in a guest', { sequential: true }, () => {
  let fixture: MachineFixture;
  let vm: BackendVm;
  let guest: GuestChannel;

  beforeAll(async () => {
    fixture = await openMachineFixture();
    vm = await fixture.create('tar');
    await vm.start(startRequest());
    guest = await vm.guest();
    await run(guest, plant);
  });
  afterAll(async () => {
    await vm?.destroy();
    fixture?.expectNothingLeft();
    fixture?.close();
  });

  test('is the same after a way out and in, and its tar is small where it has holes', async () => {
    let bytes = 0;
    const digest = createHash('sha256');
    async function* counted() {
      for await (const chunk of guest.files.tarOut('/tree')) {
        bytes += chunk.length;
        digest.update(chunk);
        yield chunk;
      }
    }
    await guest.files.tarIn('/copy', counted(), { devices: 'refuse' });
    expect(bytes).toBeLessThan(15_000_000);
    expect(await run(guest, look('/copy'))).toBe(await run(guest, look('/tree')));
    const again = createHash('sha256');
    for await (const chunk of guest.files.tarOut('/copy')) again.update(chunk);
    expect(again.digest('hex')).toBe(digest.digest('hex'));
  });

  test('that has a device is refused where devices are', async () => {
    await run(guest, 'mkdir /devices && mknod /devices/null c 1 3');
    const tar = guest.files.tarOut('/devices');
    await expect(guest.files.tarIn('/refused', tar, { devices: 'refuse' })).rejects.toThrow(
      expect.objectContaining({ code: 'InvalidInput' }),
    );
    expect(await run(guest, 'ls -A /refused')).toBe('');
  });
});
