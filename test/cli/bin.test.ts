import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

const launcher = resolve(import.meta.dirname, '../../bin/alcove.js');

/** A clone with the launcher and, where given, a built CLI and a Node of its own. */
function clone(parts: { main?: string; bundledNode?: { version: string; script: string } } = {}): string {
  const root = mkdtempSync(join(tmpdir(), 'bin-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'bin'));
  copyFileSync(launcher, join(root, 'bin/alcove.js'));
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
  if (parts.main !== undefined) {
    mkdirSync(join(root, 'dist/bundle'), { recursive: true });
    writeFileSync(join(root, 'dist/bundle/main.js'), parts.main);
  }
  if (parts.bundledNode) {
    const { version, script } = parts.bundledNode;
    mkdirSync(join(root, 'node_modules/node/bin'), { recursive: true });
    writeFileSync(join(root, 'node_modules/node/package.json'), JSON.stringify({ version }));
    writeFileSync(join(root, 'node_modules/node/bin/node'), `#!/bin/sh\n${script}\n`);
    chmodSync(join(root, 'node_modules/node/bin/node'), 0o755);
  }
  return root;
}

/** Makes this Node say that it is another version. */
function pretending(root: string, version: string): string[] {
  const path = join(root, 'pretend.cjs');
  writeFileSync(path, `Object.defineProperty(process.versions, 'node', { value: '${version}' });`);
  return ['--require', path];
}

function start(root: string, nodeArgs: readonly string[], ...args: string[]) {
  return spawnSync(process.execPath, [...nodeArgs, join(root, 'bin/alcove.js'), ...args], {
    encoding: 'utf8',
  });
}

test('imports the built CLI, with its arguments', () => {
  const root = clone({ main: 'console.log(JSON.stringify(process.argv.slice(2))); process.exitCode = 7;' });
  expect(start(root, [], 'run', '--', 'x')).toMatchObject({
    stdout: '["run","--","x"]\n',
    stderr: '',
    status: 7,
  });
});

test('keeps back the warning of node:sqlite, and no other', () => {
  const root = clone({
    main: `
      process.emitWarning('SQLite is an experimental feature and might change at any time', 'ExperimentalWarning');
      process.emitWarning('another', 'ExperimentalWarning');
    `,
  });
  const { stderr } = start(root, []);
  expect(stderr).not.toContain('SQLite');
  expect(stderr).toContain('ExperimentalWarning: another');
});

test('without a build it says how to make one', () => {
  const { status, stderr } = start(clone(), []);
  expect(status).toBe(125);
  expect(stderr).toMatch(/^alcove: it has not been built: .*\n {2}npm run build\n$/);
});

test('an old Node without another one at hand is told so', () => {
  const root = clone({ main: '' });
  const { status, stderr } = start(root, pretending(root, '18.20.4'));
  expect(status).toBe(125);
  expect(stderr).toBe('alcove: Node 18.20.4 is too old; it needs 22.15 or newer\n  npm install\n');
});

test('an old Node hands over to the one of the clone: arguments, streams, exit code', () => {
  const bundledNode = { version: '24.1.0', script: 'shift 2; cat; echo "$@"; exit 9' };
  const root = clone({ main: '', bundledNode });
  const old = pretending(root, '20.1.0');
  const args = [...old, join(root, 'bin/alcove.js'), 'a', 'b c'];
  const result = spawnSync(process.execPath, args, { input: 'in ', encoding: 'utf8' });
  expect(result).toMatchObject({ stdout: 'in a b c\n', stderr: '', status: 9 });
});

test('one that is too old itself is not used', () => {
  const root = clone({ main: '', bundledNode: { version: '22.14.0', script: 'exit 0' } });
  expect(start(root, pretending(root, '20.1.0')).status).toBe(125);
});

test('passes on a signal, and ends by the one that ended the other', async () => {
  const script =
    'trap "echo got it; trap - TERM; kill -TERM $$" TERM; echo ready; while :; do sleep 0.05; done';
  const root = clone({ main: '', bundledNode: { version: '24.1.0', script } });
  const child = spawn(process.execPath, [...pretending(root, '20.1.0'), join(root, 'bin/alcove.js')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
    if (output === 'ready\n') child.kill('SIGTERM');
  });
  const signal = await new Promise((done) => child.on('close', (_, by) => done(by)));
  expect({ output, signal }).toEqual({ output: 'ready\ngot it\n', signal: 'SIGTERM' });
});
