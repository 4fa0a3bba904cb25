import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { expectedBytes, requireRoom } from './room.ts';

test.each([
  ['a first backup is not counted on to compress', 1_000, undefined, 1_000],
  [
    'later ones are taken to compress a quarter worse than the one before',
    1_000,
    { tarBytes: 400, fileBytes: 100 },
    313,
  ],
  ['none is taken to grow', 1_000, { tarBytes: 400, fileBytes: 390 }, 1_000],
  ['a manifest that says nothing is not divided by', 1_000, { tarBytes: 0, fileBytes: 9 }, 1_000],
])('%s', (_what, usedBytes, previous, expected) => {
  expect(expectedBytes(usedBytes, previous)).toBe(expected);
});

test('what does not fit is refused with both sizes', async () => {
  await requireRoom(tmpdir(), 1);
  await expect(requireRoom(tmpdir(), 2 ** 60)).rejects.toMatchObject({
    code: 'BackupFailed',
    message: expect.stringMatching(/1099511627776 MiB may be needed, \d+ MiB are free/),
  });
});
