/** Real work in a real Debian: packages, a compiler, a test run, a large file. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import { debianRootfs } from '../images/debian-rootfs.ts';
import { CommandLine } from './command-line.ts';

const cli = new CommandLine();
const work = mkdtempSync(join(tmpdir(), 'debian-'));
afterAll(async () => {
  await cli[Symbol.asyncDispose]();
  rmSync(work, { recursive: true });
});

beforeAll(async () => {
  const rootfs = await debianRootfs({ packages: ['gcc', 'libc6-dev', 'python3', 'dpkg'] });
  const imported = await cli.run(['image', 'import', rootfs, '--name', 'debian']);
  expect(imported.stderr).not.toMatch(/alcove:/);
  const created = await cli.run([
    'vm',
    'create',
    '--id',
    'deb',
    '--image',
    'debian',
    '--memory',
    '512M',
    '--start',
  ]);
  expect(created.stderr).not.toMatch(/alcove:/);
});

async function inGuest(script: string): Promise<string> {
  const ended = await cli.run(['exec', '--timeout', '2m', 'deb', '--', 'sh', '-ec', script]);
  expect(ended.stderr).not.toMatch(/alcove:/);
  expect(ended.code).toBe(0);
  return ended.stdout;
}

test('apt-get installs a local package', async () => {
  const tree = join(work, 'package');
  mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  const control = [
    'Package: hello-alcove',
    'Version: 1.0',
    'Architecture: all',
    'Maintainer: A <a@example.org>',
  ];
  writeFileSync(join(tree, 'DEBIAN/control'), `${control.join('\n')}\nDescription: says hello\n`);
  writeFileSync(join(tree, 'usr/bin/hello-alcove'), '#!/bin/sh\necho hello from a package\n', {
    mode: 0o755,
  });
  await runTool('dpkg-deb', ['--root-owner-group', '--build', tree, join(work, 'hello.deb')]);
  expect((await cli.run(['cp', join(work, 'hello.deb'), 'deb:/root/hello.deb'])).code).toBe(0);
  await inGuest('apt-get install -y /root/hello.deb >&2');
  expect(await inGuest('hello-alcove; dpkg -s hello-alcove | grep ^Status')).toBe(
    'hello from a package\nStatus: install ok installed\n',
  );
});

test('gcc compiles a C program, and it runs', async () => {
  writeFileSync(
    join(work, 'sum.c'),
    '#include <stdio.h>\nint main(void){long s=0;for(int i=1;i<=1000;i++)s+=i;printf("%ld\\n",s);}\n',
  );
  expect((await cli.run(['cp', join(work, 'sum.c'), 'deb:/root/sum.c'])).code).toBe(0);
  expect(await inGuest('gcc -O1 -Wall -o /root/sum /root/sum.c && /root/sum')).toBe('500500\n');
});

test('a Python test run passes', async () => {
  const code =
    'import unittest\nclass T(unittest.TestCase):\n  def test_sum(self): self.assertEqual(sum(range(5)), 10)\n';
  writeFileSync(join(work, 'test_sum.py'), code);
  expect((await cli.run(['cp', join(work, 'test_sum.py'), 'deb:/root/test_sum.py'])).code).toBe(0);
  expect(await inGuest('cd /root && python3 -m unittest -v test_sum 2>&1')).toMatch(/Ran 1 test.*OK/s);
});

test('a 200 MB file is read back with the digest it was written with', async () => {
  const write = 'dd if=/dev/urandom bs=1M count=200 2>/dev/null | tee /root/big | sha256sum; sync';
  const written = await inGuest(write);
  const read = await inGuest('echo 3 > /proc/sys/vm/drop_caches; sha256sum < /root/big');
  expect(read).toBe(written);
  expect(written).toMatch(/^[0-9a-f]{64} /);
});

test('a file that comes out has the bytes it had inside', async () => {
  const inside = await inGuest('sha256sum < /root/big');
  expect((await cli.run(['cp', 'deb:/root/big', join(work, 'big')])).code).toBe(0);
  const { stdout } = await runTool('sha256sum', [join(work, 'big')]);
  expect(stdout.slice(0, 64)).toBe(inside.slice(0, 64));
});
