import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openFixture } from './runtime-fixture.ts';

test('a start takes a machine that was made for its image, and only one', async () => {
  await using fixture = await openFixture();
  const { runtime, backend } = fixture;
  const [spare] = await runtime.warm.fill({ image: 'builtin' });
  expect(backend.waiting).toEqual([spare?.id]);
  const steps: string[] = [];
  for (const id of ['a', 'b']) {
    await runtime.create({ id, image: 'builtin' });
    await runtime.start(id, { onProgress: (step) => steps.push(step) });
  }
  expect(steps).toEqual(['taking a warm machine']);
  expect(backend.log.filter(({ call }) => call === 'take-spare')).toEqual([
    { vm: 'a', call: 'take-spare', about: spare?.id },
  ]);
  expect(await runtime.warm.list()).toEqual([]);
  expect(readdirSync(join(fixture.root, 'spares'))).toEqual([]);
  expect(await runtime.warm.stats()).toMatchObject({ made: 1, claims: { image: 1 }, misses: 1, waiting: 0 });
});
