import { expect, test } from 'vitest';
import { BytePipe } from './byte-pipe.ts';

const block = new Uint8Array(65_536);

test('a writer waits while the pipe is full', async () => {
  const pipe = new BytePipe();
  expect(await pipe.write(block)).toBe(true);
  let written = false;
  const second = pipe.write(block).then(() => {
    written = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(written).toBe(false);
  const reader = pipe.read();
  await reader.next();
  await second;
  expect(written).toBe(true);
  await reader.return();
});

test('a reader gets what was written before the end', async () => {
  const pipe = new BytePipe();
  await pipe.write(Buffer.from('a'));
  pipe.end();
  expect(await pipe.write(Buffer.from('b'))).toBe(false);
  const chunks: string[] = [];
  for await (const chunk of pipe.read()) chunks.push(Buffer.from(chunk).toString());
  expect(chunks).toEqual(['a']);
});

test('when the reader leaves, a waiting writer is let go', async () => {
  const pipe = new BytePipe();
  await pipe.write(block);
  const waiting = pipe.write(block);
  const reader = pipe.read();
  await reader.next();
  await reader.return();
  await waiting;
  expect(await pipe.write(block)).toBe(false);
});

test('a broken pipe gives its reader the error', async () => {
  const pipe = new BytePipe();
  const next = pipe.read().next();
  pipe.break(new Error('gone'));
  await expect(next).rejects.toThrow('gone');
});
