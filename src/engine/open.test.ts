import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
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

test('a stray QEMU is ended by an engine whose new VMs are in memory, too', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'alcove-open-'));
  const stray = join(stateDir, 'vms', 'stray');
  mkdirSync(stray, { recursive: true, mode: 0o700 });
  // A process that bears the name of a VM of this state directory, as QEMU's command line does.
  const name = `guest=alcove-${createHash('sha256').update(stateDir).digest('hex').slice(0, 12)}-stray`;
  const script = 'console.log(); setInterval(() => {}, 1000)';
  const qemu = spawn(process.execPath, ['-e', script, '--', 'qemu', '-name', name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(qemu.stdout, 'data');
    await using _alcove = await openAlcove({ stateDir, backend: 'memory' });
    expect(existsSync(stray)).toBe(false);
    await expect.poll(() => qemu.signalCode).toBe('SIGKILL');
  } finally {
    qemu.kill('SIGKILL');
    rmSync(stateDir, { recursive: true });
  }
});
