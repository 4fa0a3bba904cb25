import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { extract, pack } from 'tar-stream';
import { expect, onTestFinished, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import type { FileKind, FileStat } from '../../src/guest/index.ts';
import { type FakeAlcove, vmInfo } from './support/fake-alcove.ts';
import { testCli } from './support/run-cli.ts';

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'copy-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** Gives the fake guest these paths, and keeps what is unpacked in it as `[directory, names]`. */
function withGuestFiles(alcove: FakeAlcove, kinds: Record<string, FileKind>): [string, string[]][] {
  const unpacked: [string, string[]][] = [];
  alcove.files = {
    stat: async (path) => {
      const kind = kinds[path.replace(/\/\.$/, '') || '/'];
      if (kind) return { path, kind } as FileStat;
      throw new AlcoveError('GuestFile', `${path} is not there`, { details: { path, errno: 'ENOENT' } });
    },
    tarIn: async (path, tar) => {
      const names: string[] = [];
      const entries = extract();
      entries.end(await buffer(tar as AsyncIterable<Buffer>));
      for await (const entry of entries) {
        names.push(entry.header.name);
        entry.resume();
      }
      unpacked.push([path, names]);
    },
    tarOut: (path) => {
      const tar = pack();
      tar.entry({ name: path.split('/').at(-1) ?? '' }, `bytes of ${path}`);
      tar.finalize();
      return tar as unknown as AsyncIterable<Uint8Array>;
    },
  };
  return unpacked;
}

test('cp takes a file into a VM, into a folder that is there or under a new name', async () => {
  const { run, alcove, io } = testCli();
  alcove.vms = [vmInfo('web')];
  const unpacked = withGuestFiles(alcove, { '/': 'directory', '/srv': 'directory' });
  const file = join(folder(), 'page.html');
  writeFileSync(file, 'hello');
  expect(await run('cp', file, 'web:/srv')).toBe(0);
  expect(await run('cp', file, 'web:/srv/index.html')).toBe(0);
  expect(unpacked).toEqual([
    ['/srv', ['page.html']],
    ['/srv', ['index.html']],
  ]);
  expect(io.stderr.text + io.stdout.text).toBe('');
});

test('cp brings a file out of a VM', async () => {
  const { run, alcove } = testCli();
  alcove.vms = [vmInfo('web')];
  withGuestFiles(alcove, { '/etc/motd': 'file' });
  const dir = folder();
  expect(await run('cp', 'web:/etc/motd', dir)).toBe(0);
  expect(await run('cp', 'web:/etc/motd', join(dir, 'new'))).toBe(0);
  expect(readFileSync(join(dir, 'motd'), 'utf8')).toBe('bytes of /etc/motd');
  expect(readFileSync(join(dir, 'new'), 'utf8')).toBe('bytes of /etc/motd');
});

test('cp of what is not there names it', async () => {
  const { run, alcove, io } = testCli();
  alcove.vms = [vmInfo('web')];
  withGuestFiles(alcove, { '/': 'directory' });
  expect(await run('cp', '/no-such-file', 'web:/')).toBe(125);
  expect(io.stderr.text).toMatch(/^alcove: .*\/no-such-file/);
  expect(await run('cp', 'web:/none', '.')).toBe(125);
  expect(io.stderr.text).toContain('/none does not exist in the guest');
});

test.each([['plain'], ['tty']])(
  'run copies in before the command and out after it, whatever its exit (%s)',
  async (kind) => {
    const { run, alcove } = testCli();
    const unpacked = withGuestFiles(alcove, { '/': 'directory', '/job': 'directory', '/job/out': 'file' });
    const dir = folder();
    mkdirSync(join(dir, 'src'));
    writeFileSync(join(dir, 'src', 'a'), '1');
    alcove.script = async () => {
      expect(unpacked, 'before the command').toHaveLength(1);
      return 3;
    };
    const copies = ['--copy-in', `${dir}/src:/job`, '--copy-out', `/job/out:${dir}/result`];
    const flags = kind === 'tty' ? ['-t', ...copies] : copies;
    expect(await run('run', ...flags, '--', 'make')).toBe(3);
    expect(unpacked[0]?.[0]).toBe('/job');
    expect(unpacked[0]?.[1].map((name) => name.replace(/\/$/, ''))).toContain('src/a');
    expect(readFileSync(join(dir, 'result'), 'utf8')).toBe('bytes of /job/out');
  },
);

test('a copy that fails fails the run, and the machine is gone', async () => {
  const { run, alcove } = testCli();
  withGuestFiles(alcove, { '/': 'directory' });
  expect(await run('run', '--copy-in', '/no/such/file:/x', '--', 'make')).toBe(125);
  expect(alcove.calls.at(-1)).toEqual(['destroyed']);
});
