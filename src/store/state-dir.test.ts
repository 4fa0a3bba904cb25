import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { defaultStateDir, openStateDir, runtimeDirOf, stateDirLayout } from './state-dir.ts';

let dir: string;
let root: string;
let env: NodeJS.ProcessEnv;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'alcove-state-'));
  root = join(dir, 'state');
  env = { XDG_RUNTIME_DIR: join(dir, 'run') };
});
afterEach(() => rmSync(dir, { recursive: true }));

test('it is made with everything in it, for nobody else to read', () => {
  using state = openStateDir({ root, env });
  for (const path of [
    state.imagesDir,
    state.kernelsDir,
    state.templatesDir,
    state.vmsDir,
    state.snapshotsDir,
  ]) {
    expect(statSync(path).isDirectory()).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o700);
  }
});

test('it has one owner at a time; the second is told who has it', () => {
  {
    using _state = openStateDir({ root, env });
    expect(() => openStateDir({ root, env })).toThrowError(
      expect.objectContaining({
        code: 'StateLocked',
        message: expect.stringContaining(String(process.pid)),
        details: { root, pid: process.pid },
      }),
    );
  }
  using _again = openStateDir({ root, env });
});

test('the lock goes with the process that has it, however that ends', async () => {
  const program = `
    const { openStateDir } = await import(${JSON.stringify(new URL('./state-dir.ts', import.meta.url).href)});
    globalThis.state = openStateDir(${JSON.stringify({ root, env })});
    console.log('locked');
    setInterval(() => {}, 1000);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  expect(() => openStateDir({ root, env })).toThrowError(
    expect.objectContaining({ code: 'StateLocked', details: { root, pid: child.pid } }),
  );
  child.kill('SIGKILL');
  await once(child, 'exit');
  using _state = openStateDir({ root, env });
});

test('half-made files are gone after the next opening', () => {
  {
    using state = openStateDir({ root, env });
    writeFileSync(join(state.tmpDir, 'half'), 'x');
  }
  using state = openStateDir({ root, env });
  expect(readdirSync(state.tmpDir)).toEqual([]);
});

test('a place where nothing can be made is unusable', () => {
  writeFileSync(root, 'a file');
  expect(() => openStateDir({ root, env })).toThrowError(expect.objectContaining({ code: 'StateUnusable' }));
});

test('its default follows the environment', () => {
  expect(defaultStateDir({ XDG_STATE_HOME: '/data', HOME: '/home/me' })).toBe('/data/alcove');
  expect(defaultStateDir({ HOME: '/home/me' })).toBe('/home/me/.local/state/alcove');
});

test('sockets have room: the runtime directory is short, and every state directory has its own', () => {
  const long = runtimeDirOf(`/home/${'x'.repeat(200)}/state`, { XDG_RUNTIME_DIR: '/run/user/1000' });
  expect(long).toMatch(/^\/run\/user\/1000\/alcove\/[0-9a-f]{12}$/);
  expect(runtimeDirOf('/other', { XDG_RUNTIME_DIR: '/run/user/1000' })).not.toBe(long);
});

test('telling the layout makes nothing', () => {
  const layout = stateDirLayout(root, env);
  expect(layout.vmsDir).toBe(join(root, 'vms'));
  expect(existsSync(root)).toBe(false);
});

test('the runtime directory of running VMs is found whatever the environment says later', () => {
  {
    using _state = openStateDir({ root, env });
  }
  const later = stateDirLayout(root, { XDG_RUNTIME_DIR: '/elsewhere' });
  expect(later.runtimeDir).toBe(runtimeDirOf(root, env));
});
