import { expect, test } from 'vitest';
import { isAlcoveError } from '../errors.ts';
import { runTool } from './run-tool.ts';

async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => expect.unreachable('it should have failed'),
    (error: unknown) => error,
  );
}

async function* endless(): AsyncGenerator<Uint8Array> {
  for (;;) yield new Uint8Array(65_536);
}

test('a program gives what it printed', async () => {
  expect(await runTool('sh', ['-c', 'echo out; echo err >&2'])).toEqual({ stdout: 'out\n', stderr: 'err\n' });
});

test('a program that fails says how, and its last words', async () => {
  const error = await failure(runTool('sh', ['-c', 'echo broken >&2; exit 3']));
  expect(error).toMatchObject({ code: 'ToolFailed', details: { exitCode: 3, stderr: 'broken' } });
});

test('a program that is not installed is named, with its package', async () => {
  const error = await failure(runTool('skopeo', [], { env: { PATH: '/nowhere' } }));
  expect(isAlcoveError(error, 'ToolMissing') && error.remedy).toContain('apt-get install skopeo');
});

test('input reaches the program, however much', async () => {
  async function* input() {
    for (let i = 0; i < 64; i++) yield new Uint8Array(65_536);
  }
  expect((await runTool('wc', ['-c'], { input: input() })).stdout.trim()).toBe(String(64 * 65_536));
});

test('a program that ends without reading its input ends the call', async () => {
  expect((await runTool('sh', ['-c', 'echo enough'], { input: endless() })).stdout).toBe('enough\n');
});

test('a source that fails ends the program, and is the error', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(1);
    throw new Error('the source broke');
  }
  const error = await failure(runTool('cat', [], { input: broken() }));
  expect(error).toHaveProperty('cause', expect.objectContaining({ message: 'the source broke' }));
});

test('an abort kills the program with all it started', async () => {
  const controller = new AbortController();
  const running = failure(runTool('sh', ['-c', 'sleep 9100 & sleep 9100'], { signal: controller.signal }));
  controller.abort();
  expect(isAlcoveError(await running, 'Cancelled')).toBe(true);
});

test('output beyond the cap is cut at the front', async () => {
  const { stdout } = await runTool('sh', ['-c', 'seq 1 100000'], { maxOutputBytes: 1000 });
  expect(stdout.length).toBe(1000);
  expect(stdout.endsWith('100000\n')).toBe(true);
});
