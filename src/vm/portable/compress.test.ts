import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { readZstd } from '../../images/index.ts';
import { zstdCompressed } from './compress.ts';

/** Bytes that cannot be compressed. */
function* noise(chunks: number): Iterable<Uint8Array> {
  for (let i = 0; i < chunks; i++) {
    const block = createHash('sha512').update(String(i)).digest();
    yield Buffer.concat(
      Array.from({ length: 2048 }, (_, j) => createHash('sha512').update(block).update(`${j}`).digest()),
    );
  }
}

async function* slowly(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

test('what is compressed is read back, at the pace of a slow reader, and without piling up listeners', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => void warnings.push(warning);
  process.on('warning', onWarning);
  onTestFinished(() => void process.off('warning', onWarning));
  const expected = createHash('sha256');
  for (const chunk of noise(60)) expected.update(chunk);
  const found = createHash('sha256');
  for await (const chunk of readZstd(zstdCompressed(slowly(noise(60))))) {
    found.update(chunk);
    await setImmediate();
  }
  expect(found.digest('hex')).toBe(expected.digest('hex'));
  expect(warnings).toEqual([]);
});

test('an error of the source is the error of the stream', async () => {
  const broken = async function* () {
    yield Buffer.alloc(1 << 20);
    throw new Error('the disk broke');
  };
  const read = async () => {
    for await (const _ of zstdCompressed(broken()));
  };
  await expect(read()).rejects.toThrow('the disk broke');
});

test('a reader that leaves early lets the source close before it goes on', async () => {
  let isClosed = false;
  const source = async function* () {
    try {
      for (;;) yield Buffer.alloc(1 << 20);
    } finally {
      await setImmediate();
      isClosed = true;
    }
  };
  for await (const _ of zstdCompressed(source())) break;
  expect(isClosed).toBe(true);
});
