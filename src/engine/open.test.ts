import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openAlcove } from './open.ts';

test('waiting for another process to let go of the state directory can be given up', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'alcove-open-'));
  try {
    await using _first = await openAlcove({ stateDir, backend: 'memory' });
    const controller = new AbortController();
    const waiting = openAlcove({
      stateDir,
      backend: 'memory',
      lockWaitMs: 60_000,
      onLocked: () => controller.abort(new Error('enough')),
      signal: controller.signal,
    });
    await expect(waiting).rejects.toMatchObject({ code: 'Cancelled', cause: { message: 'enough' } });
  } finally {
    rmSync(stateDir, { recursive: true });
  }
});
