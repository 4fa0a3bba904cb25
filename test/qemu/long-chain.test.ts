import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BackendVm, SnapshotSource } from '../../src/vm/index.ts';
import { run, startRequest } from './in-guest.ts';
import { type MachineFixture, openMachineFixture } from './machine-fixture.ts';

/** More than are kept as they are, of disk layers and of memory layers. */
const count = 36;
/** `maxDiskLayers` and `maxMemoryLayers`, and the one that a snapshot adds. */
const most = 33;

describe('a chain of many snapshots', { sequential: true }, () => {
  let fixture: MachineFixture;
  let vm: BackendVm;
  const chain: SnapshotSource[] = [];

  beforeAll(async () => {
    fixture = await openMachineFixture();
    vm = await fixture.create('long');
    await vm.start(startRequest('long'));
  });
  afterAll(async () => {
    await vm?.destroy();
    fixture?.expectNothingLeft();
    fixture?.close();
  });

  test('stays short, however many are taken of one running machine', async () => {
    for (let step = 0; step < count; step++) {
      await run(vm, `echo ${step} > /root/step-${step}; echo ${step} > /dev/shm/step`);
      const dir = join(fixture.stateDir.snapshotsDir, `step-${step}`);
      mkdirSync(dir);
      const parent = chain.at(-1);
      const manifest = await vm.snapshot({ dir, memory: 'include', ...(parent && { parent }) });
      chain.push({ dir, manifest, ancestors: [] });
    }
    for (const end of ['.qcow2', '.pages']) {
      const lengths = chain.map(
        ({ manifest }) => Object.keys(manifest.files).filter((name) => name.endsWith(end)).length,
      );
      expect(Math.max(...lengths)).toBeLessThanOrEqual(most);
      expect(lengths[5]).toBeGreaterThan(lengths[0] ?? 0);
    }
    expect(await run(vm, 'ls /root | wc -l; cat /root/step-0')).toBe(`${count}\n0\n`);
  });

  test('is as long as it looks to those who restore from it', async () => {
    for (const step of [0, most - 2, most, count - 1]) {
      const snapshot = chain[step];
      if (!snapshot) throw new Error(`there is no step ${step}`);
      const copy = await fixture.restore(`copy-${step}`, snapshot);
      try {
        await copy.start(startRequest());
        expect(await run(copy, 'ls /root | wc -l; cat /dev/shm/step')).toBe(`${step + 1}\n${step}\n`);
        expect(await run(copy, `cat /root/step-${step}`)).toBe(`${step}\n`);
      } finally {
        await copy.destroy();
      }
    }
  });

  test('goes on after the machine was off', async () => {
    await vm.stop({ graceMs: 2000 });
    await vm.start(startRequest('long'));
    expect(await run(vm, `ls /root | wc -l; cat /root/step-${count - 1}`)).toBe(`${count}\n${count - 1}\n`);
  });
});
