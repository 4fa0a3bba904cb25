import { expect, test } from 'vitest';
import { openFixture } from '../../../test/vm/runtime-fixture.ts';
import { destroyLeftRuns } from './left-runs.ts';

test('the machine of a killed run that cannot be destroyed keeps nobody from working, and goes later', async () => {
  await using fixture = await openFixture();
  const { backend, runtime } = fixture;
  const labels = { 'alcove.run': 'yes' };
  for (const id of ['a', 'b']) await runtime.create({ id, image: 'builtin', labels });
  await runtime.create({ id: 'kept', image: 'builtin' });
  backend.fail('destroy.begin', new Error('out of luck'), { vm: 'a' });
  expect(await destroyLeftRuns(runtime)).toEqual([
    'VM a, left by a run that was killed, could not be destroyed: out of luck',
    'destroyed VM b, left by a run that was killed',
  ]);
  expect(await destroyLeftRuns(runtime)).toEqual(['destroyed VM a, left by a run that was killed']);
  expect(await runtime.list({ destroyed: 'leave-out' })).toMatchObject([{ id: 'kept' }]);
});
