import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type ToolOutputOptions, toolOutput } from './tool-output.ts';

async function read(script: string, options: ToolOutputOptions = {}): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of toolOutput('sh', ['-c', script], options)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve));
    yield Buffer.alloc(65536, 'x');
  }
}

/** Programs of ours that still run under a mark in their arguments. */
const running = (mark: string) =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(mark);
      } catch {
        return false; // It ended while it was looked at.
      }
    });

test('output comes byte by byte as the program wrote it', async () => {
  expect(await read("printf '\\377\\000\\n'")).toEqual(Buffer.from([255, 0, 10]));
  const input = (async function* () {
    for (let part = 0; part < 100; part++) yield Buffer.alloc(50_000, part);
  })();
  expect(await read('cat', { input })).toHaveLength(5_000_000);
});

test('a failure comes after the output, with what the program said', async () => {
  const chunks: string[] = [];
  const failing = async () => {
    for await (const chunk of toolOutput('sh', ['-c', 'echo some; echo why >&2; exit 3']))
      chunks.push(String(chunk));
  };
  await expect(failing()).rejects.toMatchObject({ code: 'ToolFailed', message: 'sh ended with 3: why' });
  expect(chunks.join('')).toBe('some\n');
});

test('a program that is not there is missing', async () => {
  const missing = toolOutput('alcove-no-such-program', [], { input: endless() });
  await expect(missing.next()).rejects.toMatchObject({ code: 'ToolMissing' });
});

test('a program that ends without reading its input is not waited for', async () => {
  expect(String(await read('echo early', { input: endless() }))).toBe('early\n');
  await expect(read('exit 4', { input: endless() })).rejects.toMatchObject({ code: 'ToolFailed' });
});

test('an error of the input ends the program and is what is thrown', async () => {
  const input = (async function* () {
    yield Buffer.from('x');
    throw new Error('the source broke');
  })();
  await expect(read('cat; echo mark-broken-input >/dev/null', { input })).rejects.toThrow('the source broke');
  expect(running('mark-broken-input')).toEqual([]);
});

test('a signal ends the program', async () => {
  const abort = new AbortController();
  const output = toolOutput('sh', ['-c', 'echo up; exec cat # mark-cancelled'], {
    signal: abort.signal,
    input: endless(),
  });
  await output.next();
  abort.abort();
  const rest = async () => {
    for await (const _ of output);
  };
  await expect(rest()).rejects.toMatchObject({ code: 'Cancelled' });
  expect(running('mark-cancelled')).toEqual([]);
});

test('a reader that stops early ends the program', async () => {
  for await (const _ of toolOutput('sh', ['-c', 'while :; do echo mark-early; done'])) break;
  expect(running('mark-early')).toEqual([]);
});
