import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { builtin } from './support/fake-alcove.ts';
import { testCli } from './support/run-cli.ts';

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cli-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return dir;
}

test('image pull prints the digest and passes on its flags', async () => {
  const { run, io, alcove } = testCli();
  expect(await run('image', 'pull', '--insecure', '--name', 'app', 'localhost:5000/app:1')).toBe(0);
  expect(io.stdout.text).toBe(`${builtin.digest}\n`);
  expect(alcove.calls).toEqual([
    ['images.add', { kind: 'registry', reference: 'localhost:5000/app:1', tls: 'off' }, 'app'],
  ]);
});

test('image import takes the format that is named', async () => {
  const { run, alcove, json } = testCli();
  await run('image', 'import', '/x/app.tar', '--format', 'docker-archive', '--reference', 'app:1', '--json');
  expect(alcove.calls).toEqual([
    ['images.add', { kind: 'docker-archive', path: '/x/app.tar', reference: 'app:1' }, undefined],
  ]);
  expect(json()).toEqual(JSON.parse(JSON.stringify(builtin)));
});

test('image import sees what a folder is', async () => {
  const { run, alcove } = testCli();
  const dir = folder();
  mkdirSync(join(dir, 'etc'));
  await run('image', 'import', dir, '--name', 'base');
  writeFileSync(join(dir, 'oci-layout'), '{}');
  await run('image', 'import', dir);
  expect(alcove.calls).toEqual([
    ['images.add', { kind: 'directory', path: dir }, 'base'],
    ['images.add', { kind: 'oci-layout', path: dir }, undefined],
  ]);
});

test('image import of a path that is not there', async () => {
  const { run, io } = testCli();
  expect(await run('image', 'import', '/nowhere/at/all')).toBe(125);
  expect(io.stderr.text).toContain('alcove: cannot read /nowhere/at/all: ENOENT');
});

test('image ls, inspect and rm', async () => {
  const { run, io, alcove } = testCli();
  await run('image', 'ls');
  expect(io.stdout.text).toBe(
    [
      'REFERENCES  DIGEST                  SIZE  CREATED',
      'builtin     sha256:abababababab  1.0 MiB  10 minutes ago',
      '',
    ].join('\n'),
  );
  expect(await run('image', 'inspect', 'builtin')).toBe(0);
  expect(io.stdout.text).toContain('command    ["/bin/sh"]\n');
  expect(await run('image', 'inspect', 'nope')).toBe(125);
  expect(await run('image', 'rm', 'builtin')).toBe(0);
  expect(alcove.calls).toEqual([['images.remove', 'builtin']]);
});
