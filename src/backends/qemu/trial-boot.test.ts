import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { identifyProcess } from '../../host/index.ts';

test('a trial that hangs goes with the engine, also when that is killed', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'alcove-trial-'));
  try {
    const program = join(dir, 'hanging-qemu');
    writeFileSync(program, '#!/bin/sh\necho $$ > "$0.pid"\nexec sleep 600\n');
    chmodSync(program, 0o755);
    const options = { program, accelerator: 'kvm', kernel: { kernelPath: '/k', initramfsPath: '/i' } };
    const url = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
    const engineCode = `
      const { trialBoot } = await import(${url('./trial-boot.ts')});
      const { systemClock } = await import(${url('../../host/index.ts')});
      await trialBoot({ ...${JSON.stringify(options)}, deadlineMs: 600_000, clock: systemClock });`;
    const engine = spawn(process.execPath, ['--input-type=module', '-e', engineCode], {
      env: { ...process.env, TMPDIR: dir },
    });
    engine.stderr.resume();
    const pid = await vi.waitFor(
      () => {
        const alive = identifyProcess(Number(readFileSync(`${program}.pid`, 'utf8')));
        if (!alive) throw new Error('the trial has not begun');
        return alive.pid;
      },
      { timeout: 30_000 },
    );
    engine.kill('SIGKILL');
    await once(engine, 'exit');
    await vi.waitFor(() => expect(identifyProcess(pid)).toBeUndefined(), { timeout: 10_000 });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
