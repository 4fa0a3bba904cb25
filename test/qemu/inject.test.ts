import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { inject, injectedTree } from '../../src/executor/inject/index.ts';
import type { GuestFiles } from '../../src/guest/index.ts';
import type { VmRuntime } from '../../src/vm/index.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { sh } from './witness.ts';

/** Of the sparse file; what it holds of zeros is sent like any bytes. */
const largeMiB = Number(process.env.ALCOVE_LARGE_MIB ?? 200);

describe('inject into a real machine', { sequential: true }, () => {
  let fixture: RuntimeFixture;
  let runtime: VmRuntime;
  let files: GuestFiles;
  let host: string;

  beforeAll(async () => {
    fixture = await openRuntimeFixture();
    runtime = await fixture.open();
    await runtime.create({ id: 'vm', image: 'builtin', diskMiB: 1024 });
    await runtime.start('vm');
    ({ files } = await runtime.guest('vm'));
  });
  afterAll(async () => {
    if (!fixture) return;
    if (runtime) await runtime.destroy('vm');
    await runtime?.close();
    fixture.close();
  });
  beforeEach(() => {
    host = mkdtempSync(join(tmpdir(), 'inject-'));
  });
  afterEach(() => rmSync(host, { recursive: true }));

  const shell = (line: string) => sh(runtime, 'vm', line);

  test('links, empty folders, modes and odd names come as they are; what .gitignore names and .git do not', async () => {
    mkdirSync(join(host, 'dir/empty'), { recursive: true });
    mkdirSync(join(host, '.git'));
    writeFileSync(join(host, '.git/HEAD'), 'ref');
    writeFileSync(join(host, '.gitignore'), '*.o\n/out/\n');
    writeFileSync(join(host, 'dir/.gitignore'), '!kept.o\n');
    for (const name of ['main.o', 'dir/kept.o', 'dir/lost.o']) writeFileSync(join(host, name), 'object');
    mkdirSync(join(host, 'out'));
    writeFileSync(join(host, 'out/x'), '');
    writeFileSync(join(host, 'run me'), '#!/bin/sh\necho "it runs"\n');
    writeFileSync(join(host, 'set-uid'), 'x');
    writeFileSync(join(host, '-ü"\''), 'odd');
    symlinkSync('run me', join(host, 'link'));
    symlinkSync('/nowhere', join(host, 'broken'));
    for (const [name, mode] of [
      ['dir', 0o750],
      ['dir/empty', 0o1777],
      ['run me', 0o755],
      ['set-uid', 0o4711],
      ['-ü"\'', 0o600],
    ] as const)
      chmodSync(join(host, name), mode);
    for (const name of ['.gitignore', 'dir/.gitignore', 'dir/kept.o']) chmodSync(join(host, name), 0o644);

    const sent = await inject(files, { from: host, to: '/src' });
    expect(sent).toEqual(await injectedTree({ from: host, to: '/src' }));
    const paths = sent.entries.map(({ path }) => path);
    expect(paths).toEqual([
      '-ü"\'',
      '.gitignore',
      'broken',
      'dir',
      'dir/.gitignore',
      'dir/empty',
      'dir/kept.o',
      'link',
      'run me',
      'set-uid',
    ]);
    expect((await shell('cd /src && find . ! -name . | sort')).split('\n').filter(Boolean)).toEqual(
      [...paths].map((path) => `./${path}`).sort(),
    );
    const modes = await shell(
      'cd /src && stat -c "%a %u:%g %n" . dir dir/empty "run me" set-uid .gitignore ./-*',
    );
    expect(modes.split('\n').filter(Boolean)).toEqual([
      '755 0:0 .',
      '750 0:0 dir',
      '1777 0:0 dir/empty',
      '755 0:0 run me',
      '4711 0:0 set-uid',
      '644 0:0 .gitignore',
      '600 0:0 ./-ü"\'',
    ]);
    expect(await shell('cd /src && ./link && readlink broken')).toBe('it runs\n/nowhere\n');
  });

  test('a mirror removes what is gone, replaces what has become something else, and leaves what the rules name', async () => {
    writeFileSync(join(host, '.gitignore'), 'built/\n*.o\n');
    mkdirSync(join(host, 'sub'));
    for (const name of ['a', 'b', 'sub/c']) writeFileSync(join(host, name), name);
    const injection = { from: host, to: '/mirror', mirror: true as const, owner: { uid: 1000, gid: 100 } };
    await inject(files, injection);
    await shell(
      'cd /mirror && mkdir -p built/deep stray/deep && touch built/deep/x a.o sub/d.o stray/deep/x stray/y.o && ln -s /etc link',
    );
    rmSync(join(host, 'b'));
    rmSync(join(host, 'a'));
    mkdirSync(join(host, 'a'));
    writeFileSync(join(host, 'a/now-a-folder'), '');
    mkdirSync(join(host, 'link'));
    await inject(files, injection);
    const left = (await shell('cd /mirror && find . ! -name . | sort')).split('\n').filter(Boolean);
    expect(left).toEqual([
      './.gitignore',
      './a',
      './a.o',
      './a/now-a-folder',
      './built',
      './built/deep',
      './built/deep/x',
      './link',
      './stray',
      './stray/y.o',
      './sub',
      './sub/c',
      './sub/d.o',
    ]);
    expect(await shell('stat -c "%u:%g %F" /mirror /mirror/a /mirror/link; ls /etc/passwd')).toBe(
      '1000:100 directory\n1000:100 directory\n1000:100 directory\n/etc/passwd\n',
    );
  });

  test('ten thousand small files', async () => {
    for (let index = 0; index < 10_000; index++) {
      const folder = join(host, `d${index % 100}`);
      if (index < 100) mkdirSync(folder);
      writeFileSync(join(folder, `f${index}`), `${index}\n`);
    }
    const sent = await inject(files, { from: host, to: '/many' });
    expect(sent.entries).toHaveLength(10_100);
    const digests = 'cd DIR && find . -type f | sort | xargs sha256sum | sha256sum';
    const there = await shell(digests.replace('DIR', '/many'));
    expect(there).toBe(execFileSync('sh', ['-c', digests.replace('DIR', host)], { encoding: 'utf8' }));
    await shell('rm -r /many');
  });

  test('memory of the engine does not grow with a large file', async () => {
    const large = openSync(join(host, 'large'), 'w');
    ftruncateSync(large, largeMiB * 2 ** 20);
    writeSync(large, 'end', largeMiB * 2 ** 20 - 3);
    closeSync(large);
    const before = process.memoryUsage.rss();
    writeFileSync('/proc/self/clear_refs', '5'); // Forgets the peak; see proc(5).
    const sent = await inject(files, { from: host, to: '/large' });
    const [, peakKiB] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
    expect(sent.entries).toMatchObject([{ path: 'large', sizeBytes: largeMiB * 2 ** 20 }]);
    expect(await shell('tail -c 3 /large/large; sha256sum < /large/large')).toBe(
      `end${sent.entries[0]?.sha256}  -\n`,
    );
    // Garbage of some tens of MiB waits to be collected, whatever the size of the file.
    expect(Number(peakKiB) * 1024 - before).toBeLessThan(120 * 2 ** 20);
  });
});
