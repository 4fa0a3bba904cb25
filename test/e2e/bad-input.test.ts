import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import { CommandLine, type Ended } from './command-line.ts';

const work = mkdtempSync(join(tmpdir(), 'bad-'));
const cli = new CommandLine();
afterAll(async () => {
  await cli[Symbol.asyncDispose]();
  rmSync(work, { recursive: true });
});

/** A refusal: the code of its exit, what it says, no stack trace, and no VM, image or half-made file behind it. */
async function expectRefused(
  args: string[],
  exit: number,
  says: RegExp,
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const ended = await cli.run(args, { env });
  expect(ended.stderr).toMatch(says);
  expect(ended.code).toBe(exit);
  expect(ended.stdout).toBe('');
  expect(ended.stderr).not.toMatch(/\n\s+at |node:internal|\.[jt]s:\d+/);
  return ended;
}

function expectNothingLeft(): void {
  for (const folder of ['vms', 'snapshots', 'tmp'])
    expect(readdirSync(join(cli.stateDir, folder))).toEqual([]);
}

describe('bad input', () => {
  beforeAll(async () => {
    writeFileSync(join(work, 'corrupt.tar'), Buffer.alloc(2048, 'x'));
    writeFileSync(join(work, 'corrupt.tar.gz'), Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]));
    const escaping = pack();
    escaping.entry({ name: '../../../etc/alcove-escaped' }, 'out');
    escaping.finalize();
    await writeStream(escaping, join(work, 'escape.tar'));
    mkdirSync(join(work, 'empty-layout'));
  });

  const cases: [name: string, args: string[], exit: number, says: RegExp][] = [
    ['an unknown image', ['run', '--image', 'nowhere', '--', 'true'], 125, /nowhere.*\n.*alcove image/s],
    ['an unknown flag', ['run', '--colour', '--', 'true'], 2, /--colour/],
    ['an unknown command', ['rnu'], 2, /run/],
    ['an id with bad characters', ['vm', 'create', '--id', 'Not_An_Id'], 2, /Not_An_Id/],
    ['an id that climbs', ['vm', 'create', '--id', '../up'], 2, /\.\.\/up/],
    ['memory of nothing', ['run', '--memory', '0', '--', 'true'], 2, /memory/i],
    ['memory beyond the host', ['run', '--memory', `${2 * totalmem()}`, '--', 'true'], 2, /memory/i],
    ['no cpus', ['run', '--cpus', '0', '--', 'true'], 2, /cpus/i],
    ['cpus beyond the host', ['run', '--cpus', '4096', '--', 'true'], 2, /cpus/i],
    ['a timeout that is none', ['run', '--timeout', 'soon', '--', 'true'], 2, /timeout/i],
    ['a VM that is not there', ['exec', 'absent', '--', 'true'], 125, /absent/],
    [
      'an archive that is none',
      ['image', 'import', join(work, 'corrupt.tar')],
      125,
      /corrupt\.tar|archive|tar/,
    ],
    [
      'a damaged compressed archive',
      ['image', 'import', join(work, 'corrupt.tar.gz')],
      125,
      /corrupt|archive|gzip|tar/,
    ],
    ['an archive that escapes', ['image', 'import', join(work, 'escape.tar')], 125, /alcove-escaped/],
    ['a path that is not there', ['image', 'import', join(work, 'absent.tar')], 125, /absent\.tar/],
    [
      'an empty layout',
      ['image', 'import', '--format', 'oci-layout', join(work, 'empty-layout')],
      125,
      /layout/,
    ],
  ];
  test.each(cases)(
    '%s is refused with a remedy, and nothing stays behind',
    async (_name, args, exit, says) => {
      await expectRefused(args, exit, says);
      await cli.run(['doctor']);
      expectNothingLeft();
      expect(await cli.json(['image', 'ls'])).toEqual([]);
    },
  );

  test('a missing QEMU is named, with the command that installs it', async () => {
    const bin = join(work, 'bin');
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
    await expectRefused(['run', '--', 'true'], 125, /qemu.*\n.*apt-get install/s, {
      PATH: bin,
    });
    expectNothingLeft();
  });

  test('a missing kernel is named', async () => {
    await expectRefused(['vm', 'create', '--kernel', '/nowhere/vmlinuz'], 2, /\/nowhere\/vmlinuz/);
    expectNothingLeft();
  });
});

test('a read-only state directory is a typed error', async () => {
  const mount = join(work, 'read-only');
  mkdirSync(mount);
  await runTool('mount', ['-t', 'tmpfs', '-o', 'ro,size=1m', 'tmpfs', mount]);
  try {
    await expectRefused(['run', '--', 'true'], 125, /read-only.*\n/, {
      ALCOVE_STATE_DIR: join(mount, 'state'),
    });
  } finally {
    await runTool('umount', [mount]);
  }
});

test.each([1, 4, 12, 20])(
  'a state directory that is full at %i MiB is a typed error, and nothing half-made stays',
  async (size) => {
    const mount = join(work, `full-${size}`);
    mkdirSync(mount);
    await runTool('mount', ['-t', 'tmpfs', '-o', `size=${size}m`, 'tmpfs', mount]);
    try {
      const state = join(mount, 'state');
      const args = ['run', '--disk', '16M', '--', 'dd', 'if=/dev/zero', 'of=/fill', 'bs=1M', 'count=15'];
      await expectRefused(args, size < 16 ? 2 : 125, /disk|full|space/i, { ALCOVE_STATE_DIR: state });
      for (const folder of ['vms', 'snapshots', 'tmp']) expect(readdirSync(join(state, folder))).toEqual([]);
    } finally {
      await runTool('umount', [mount]);
    }
  },
);

async function writeStream(source: AsyncIterable<unknown>, path: string): Promise<void> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk as Uint8Array);
  writeFileSync(path, Buffer.concat(chunks));
}
