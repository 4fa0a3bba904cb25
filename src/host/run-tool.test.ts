import { mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { identifyProcess } from './process-identity.ts';
import { runTool, toolMissing } from './run-tool.ts';

const shell = (line: string, options?: Parameters<typeof runTool>[2]) => runTool('sh', ['-c', line], options);

test('what a tool says is told, its streams apart', async () => {
  expect(await shell('echo out; echo err >&2')).toEqual({ stdout: 'out\n', stderr: 'err\n' });
});

test('a tool that fails says how, with its last lines', async () => {
  await expect(shell('echo useless; echo because >&2; exit 3')).rejects.toMatchObject({
    code: 'ToolFailed',
    message: 'sh ended with 3: because',
    details: { tool: 'sh', exitCode: 3, signal: null, stderr: 'because' },
  });
  await expect(shell('kill -9 $$')).rejects.toMatchObject({ details: { exitCode: null, signal: 'SIGKILL' } });
});

test('a tool that is missing is named, with the package that brings it', async () => {
  await expect(runTool('no-such-tool-anywhere', [])).rejects.toMatchObject({
    code: 'ToolMissing',
    details: { tool: 'no-such-tool-anywhere' },
  });
  expect(toolMissing('skopeo')).toMatchObject({ remedy: 'Install it: apt-get install skopeo' });
});

test('input is fed, and one that the tool does not read does no harm', async () => {
  const input = (async function* () {
    for (let block = 0; block < 40; block++) yield new Uint8Array(65_536);
  })();
  expect((await shell('wc -c', { input })).stdout.trim()).toBe(String(40 * 65_536));
  const unread = (async function* () {
    yield new Uint8Array(10);
  })();
  expect((await shell('exit 0', { input: unread })).stdout).toBe('');
});

test('input that fails ends the tool, and is the cause', async () => {
  const input = (async function* () {
    yield new Uint8Array(10);
    throw new Error('the source broke');
  })();
  await expect(shell('cat >/dev/null', { input })).rejects.toSatisfy(
    (error: Error) =>
      error.message === 'the source broke' || (error.cause as Error)?.message === 'the source broke',
  );
});

test('of much output the end is kept', async () => {
  const { stdout } = await shell('yes 0123456789 | head -n 100000; echo end', { maxOutputBytes: 1000 });
  expect(stdout.length).toBe(1000);
  expect(stdout.endsWith('0123456789\nend\n')).toBe(true);
});

test('a cancelled tool is gone with its children', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'alcove-tool-'));
  try {
    const controller = new AbortController();
    const running = shell('sleep 1000 & echo $! > child; echo; wait', {
      cwd: dir,
      signal: controller.signal,
    });
    const refused = expect(running).rejects.toMatchObject({ code: 'Cancelled' });
    let pid = 0;
    while (!pid) {
      await new Promise((resolve) => setImmediate(resolve));
      try {
        pid = Number(readFileSync(join(dir, 'child'), 'utf8').trim());
      } catch {
        // The shell has not come so far.
      }
    }
    controller.abort();
    await refused;
    while (identifyProcess(pid)) await new Promise((resolve) => setImmediate(resolve)); // The kernel takes its time.
    await expect(shell('echo never', { signal: controller.signal })).rejects.toMatchObject({
      code: 'Cancelled',
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('a tool sees no more of the environment than it needs', async () => {
  process.env.ALCOVE_SECRET = 'secret';
  try {
    expect((await shell('echo "$ALCOVE_SECRET$LC_ALL"')).stdout).toBe('C\n');
    expect((await shell('pwd', { cwd: tmpdir() })).stdout.trim()).toBe(realpathSync(tmpdir()));
  } finally {
    delete process.env.ALCOVE_SECRET;
  }
});

test('nobody listens on a signal after the tool has ended', async () => {
  const { getEventListeners } = await import('node:events');
  const { signal } = new AbortController();
  await shell('true', { signal });
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});
