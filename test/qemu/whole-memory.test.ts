import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { VmRuntime } from '../../src/vm/index.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { countOf, digestOf, furnish, sh } from './witness.ts';

/** Where the host does not let the engine read QEMU's memory, QEMU writes all of it down. */
describe('memory that cannot be looked into', { sequential: true }, () => {
  let fixture: RuntimeFixture;
  let runtime: VmRuntime;

  beforeAll(async () => {
    fixture = await openRuntimeFixture();
    runtime = await fixture.open({ memoryAccess: 'refused' });
    await runtime.create({ id: 'source', image: 'builtin', diskMiB: 64, memoryMiB: 128 });
    await runtime.start('source');
    await furnish(runtime, 'source');
  });
  afterAll(() => fixture?.finish(runtime));

  const capturesOnRecord = () =>
    readdirSync(fixture.stateDir.snapshotsDir).map(
      (name) =>
        JSON.parse(readFileSync(join(fixture.stateDir.snapshotsDir, name, 'manifest.json'), 'utf8')).facts
          .capture,
    );

  test('is captured whole, and goes on as it was', async () => {
    const digest = await digestOf(runtime, 'source');
    await runtime.snapshot('source', { id: 'base' });
    expect(capturesOnRecord()).toEqual(['whole']);
    const count = await countOf(runtime, 'source');
    expect(await digestOf(runtime, 'source')).toBe(digest);
    await runtime.restore('source/base', { id: 'copy' });
    await runtime.start('copy');
    expect(await digestOf(runtime, 'copy')).toBe(digest);
    await countOf(runtime, 'copy', count);
  });

  test('pages that became zero are zero in a copy, also upon layers in which they were not', async () => {
    await sh(runtime, 'copy', 'head -c 8000000 /dev/urandom > /dev/shm/filled');
    await runtime.snapshot('copy', { id: 'filled' });
    await sh(
      runtime,
      'copy',
      'dd if=/dev/zero of=/dev/shm/filled bs=1000000 count=8 conv=notrunc 2>/dev/null',
    );
    const digest = await digestOf(runtime, 'copy');
    await runtime.snapshot('copy', { id: 'zeroed' });
    await runtime.restore('copy/zeroed', { id: 'zeroed' });
    await runtime.start('zeroed');
    expect(
      await sh(
        runtime,
        'zeroed',
        'head -c 8000000 /dev/zero | cmp - /dev/shm/filled && wc -c < /dev/shm/filled',
      ),
    ).toBe('8000000\n');
    expect(await digestOf(runtime, 'zeroed')).toBe(digest);
    await runtime.destroy('zeroed');
  });

  test('a suspended VM goes on from it', async () => {
    const count = await countOf(runtime, 'copy');
    const digest = await digestOf(runtime, 'copy');
    await runtime.stop('copy', { memory: true });
    await fixture.expectNothingUnlisted(runtime);
    await runtime.start('copy');
    expect(await digestOf(runtime, 'copy')).toBe(digest);
    await countOf(runtime, 'copy', count);
  });
});
