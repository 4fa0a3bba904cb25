/** Backups of real machines: what comes back is what was there, whatever it is called and made of. */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Alcove, openAlcove } from '../../src/engine/index.ts';
import { isAlcoveError } from '../../src/errors.ts';

const work = mkdtempSync(join(tmpdir(), 'alcove-backup-'));
const backups = join(work, 'backups');
let alcove: Alcove;
beforeAll(async () => {
  alcove = await openAlcove({
    stateDir: join(work, 'state'),
    sessions: { backupDestination: backups, diskMiB: 4096 },
  });
});
afterAll(async () => {
  for (const { id } of await alcove.sessions.list()) await alcove.sessions.terminate(id);
  expect(await alcove.list({ destroyed: 'leave-out' })).toEqual([]);
  expect(await alcove.snapshots.list()).toEqual([]);
  await alcove[Symbol.asyncDispose]();
  rmSync(work, { recursive: true });
});

async function inSession(id: string, command: string): Promise<string> {
  await using lease = await alcove.sessions.acquire(id);
  const { stdout } = await lease.exec(command, { nonZeroExit: 'error' });
  return stdout;
}

/** Names as bytes, kinds, modes, owners, links, times, and what is in the files. Sizes of directories depend on their past. */
const fingerprint = `set -eo pipefail
find . -print0 | sort -z | xargs -0 stat -c '%N %a %u %g %F %Y' | od -c | sha256sum
find . ! -type d -print0 | sort -z | xargs -0 stat -c '%N %h %s'  | od -c | sha256sum
find . -type f -print0 | sort -z | xargs -0 sha256sum | od -c | sha256sum`;

/** The session's tree in another session that was made from its backup. */
async function comeBack(id: string, as: string): Promise<void> {
  const { name } = await alcove.sessions.backup(id);
  await alcove.sessions.restore(as, { from: name });
}

test('names, links, modes, owners and times come back, of a running session and of a suspended one', async () => {
  await inSession(
    'odd',
    `umask 022; mkdir -p 'a b/c' empty; chmod 1777 empty; echo one > 'a b/c/with space'
printf x > "$(printf 'new\\nline')"; printf y > "$(printf 'not-utf8-\\377\\376')"
ln -s /etc/shadow shadow; ln -s nowhere dangling; ln 'a b/c/with space' hard; mkfifo pipe
printf '#!/bin/sh\\n' > suid; chown 1234:4321 suid; chmod 6755 suid; touch -d '2001-02-03 04:05:06' 'a b' suid
(while :; do date >> ../ticks; sleep 0.1; done) >/dev/null 2>&1 &`,
  );
  const before = await inSession('odd', fingerprint);
  expect(await inSession('odd', 'find . -print0 | sort -z | xargs -0 stat -c %N | wc -l')).toBe('13\n'); // One has a newline.
  await comeBack('odd', 'odd-running');
  await alcove.sessions.stop('odd');
  await comeBack('odd', 'odd-suspended');
  for (const id of ['odd-running', 'odd-suspended']) expect(await inSession(id, fingerprint)).toBe(before);
  expect(await inSession('odd-running', 'readlink shadow; readlink dangling')).toBe('/etc/shadow\nnowhere\n');
  expect(await inSession('odd', fingerprint)).toBe(before);
});

test('a file that changes while it is backed up is there as it was at one instant', async () => {
  // Each line comes after the one before it is on disk, in two files: no instant has more in the second one.
  await inSession(
    'busy',
    `dd if=/dev/urandom of=bulk bs=1M count=40 2>/dev/null
(i=0; while :; do i=$((i+1)); echo $i >> first; echo $i >> second; done) >/dev/null 2>&1 & sleep 0.5`,
  );
  await using lease = await alcove.sessions.acquire('busy');
  await lease.spawn('while :; do echo x >> third; done', { detachedId: 'writer' });
  await comeBack('busy', 'as-it-was');
  const counts = await inSession('as-it-was', 'wc -l < first; wc -l < second');
  const [first = 0, second = 0] = counts.split('\n').map(Number);
  expect(first - second).toBeGreaterThanOrEqual(0);
  expect(first - second).toBeLessThanOrEqual(1);
});

/** Making one takes the emulated guest about a millisecond; a machine that has the time makes a hundred thousand. */
const many = Number(process.env.ALCOVE_MANY_FILES ?? 5000);

test('many small files come back', async () => {
  await inSession('many', `mkdir files; cd files; seq ${many} | while read -r i; do echo $i > f$i; done`);
  const { name, manifest } = await alcove.sessions.backup('many');
  expect(manifest?.entries.files).toBe(many);
  await alcove.sessions.restore('many-again', { from: name });
  const digest = 'cd files; ls | wc -l; ls | xargs cat | sha256sum';
  expect(await inSession('many-again', digest)).toBe(await inSession('many', digest));
}, 900_000);

test('a sparse file of two gigabytes takes no more room, in the backup and when it is back', async () => {
  await inSession(
    'sparse',
    'truncate -s 2G hole; printf begin | dd of=hole conv=notrunc 2>/dev/null; printf middle | dd of=hole bs=1 seek=1073741824 conv=notrunc 2>/dev/null; printf end | dd of=hole bs=1 seek=2147483640 conv=notrunc 2>/dev/null',
  );
  const { name, manifest, fileBytes } = await alcove.sessions.backup('sparse');
  expect(manifest?.contentBytes).toBe(2 ** 31);
  expect(manifest?.tarBytes).toBeLessThan(2 ** 20);
  expect(fileBytes).toBeLessThan(2 ** 20);
  await alcove.sessions.restore('sparse-again', { from: name });
  const [size, blocks] = (await inSession('sparse-again', 'stat -c "%s %b" hole')).split(' ').map(Number);
  expect(size).toBe(2 ** 31);
  expect(blocks).toBeLessThan(200);
  const parts = [0, 1_073_741_824, 2_147_483_640].map(
    (at) => `dd if=hole bs=8 count=1 skip=${at / 8} 2>/dev/null | od -c`,
  );
  expect(await inSession('sparse-again', parts.join(';'))).toBe(await inSession('sparse', parts.join(';')));
}, 300_000);

test('an archive that tar and zstd made by hand becomes a session', async () => {
  const tree = join(work, 'tree');
  mkdirSync(join(tree, 'sub'), { recursive: true });
  writeFileSync(join(tree, 'sub', 'note'), 'by hand\n', { mode: 0o640 });
  writeFileSync(join(tree, 'hole'), 'x');
  truncateSync(join(tree, 'hole'), 2 ** 24);
  symlinkSync('sub/note', join(tree, 'link'));
  for (const format of ['gnu', 'pax', 'ustar']) {
    const archive = join(work, `${format}.tar.zst`);
    execFileSync('tar', [
      '--zstd',
      `--format=${format}`,
      ...(format === 'ustar' ? [] : ['-S']),
      '-cf',
      archive,
      '-C',
      tree,
      '.',
    ]);
    await alcove.sessions.restore('by-hand', { from: archive });
    expect(await inSession('by-hand', 'cat link; stat -c "%a %s" sub/note hole')).toBe(
      'by hand\n640 8\n644 16777216\n',
    );
  }
});

test('what does not belong into a session is refused, and nothing is replaced', async () => {
  await inSession('kept', 'echo mine > note');
  const tree = join(work, 'bad');
  mkdirSync(tree);
  writeFileSync(join(tree, 'note'), 'theirs\n');
  const tar = (name: string, ...args: string[]) => {
    const archive = join(work, name);
    execFileSync('tar', ['--zstd', '-cPf', archive, '-C', tree, ...args]);
    return archive;
  };
  const damaged = join(work, 'damaged.tar.zst');
  const whole = readFileSync(tar('whole.tar.zst', '.'));
  writeFileSync(damaged, whole.subarray(0, whole.length - 20));
  const { path } = await alcove.sessions.backup('kept');
  const flipped = readFileSync(path);
  flipped.writeUInt8(flipped.readUInt8(flipped.length - 10) ^ 1, flipped.length - 10);
  const refused = {
    escape: tar('escape.tar.zst', '--transform=s,note,../../etc/note,', './note'),
    absolute: tar('absolute.tar.zst', join(tree, 'note')),
    device: tar('device.tar.zst', '-C', '/dev', './null'),
    damaged,
  };
  for (const [what, from] of Object.entries(refused)) {
    const outcome = await alcove.sessions.restore('kept', { from }).catch((error: unknown) => error);
    expect(isAlcoveError(outcome, 'BackupInvalid'), `${what}: ${outcome}`).toBe(true);
  }
  writeFileSync(path, flipped);
  await expect(alcove.sessions.restore('kept')).rejects.toMatchObject({ code: 'BackupInvalid' });
  expect(await inSession('kept', 'cat note')).toBe('mine\n');
});
