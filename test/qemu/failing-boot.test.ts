import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Machine } from '../../src/backends/qemu/machine.ts';
import { trialBoot } from '../../src/backends/qemu/trial-boot.ts';
import { systemClock } from '../../src/host/index.ts';
import { startRequest } from './in-guest.ts';
import { type MachineFixture, openMachineFixture, processesOf } from './machine-fixture.ts';

describe('a machine that does not come up', () => {
  let fixture: MachineFixture;
  beforeAll(async () => {
    fixture = await openMachineFixture();
  });
  afterAll(() => fixture?.close());

  test('because its kernel panics: says so with the console’s words, long before the deadline', async () => {
    const vm = await fixture.create('panics', { bootArgs: ['rdinit=/no/such/init', 'init=/no/such/init'] });
    await expect(vm.start(startRequest())).rejects.toMatchObject({
      code: 'VmFailed',
      message: expect.stringMatching(/kernel panicked(.|\n)*Kernel panic/),
    });
    expect(await vm.observe()).toBe('off');
    fixture.expectNothingLeft();
  });

  test('in time: ends with what was seen until then', async () => {
    const backend = fixture.backend({ bootTimeoutMs: 400 });
    const vm = await backend.create(fixture.request('late'));
    await expect(vm.start(startRequest())).rejects.toMatchObject({
      code: 'VmFailed',
      message: expect.stringContaining('400 ms'),
    });
    fixture.expectNothingLeft();
  });

  test('with a process that does not end at once: says why it failed, and ends it yet', async () => {
    using finish = vi.spyOn(Machine.prototype, 'finish').mockRejectedValue(new Error('it does not end'));
    const backend = fixture.backend({ bootTimeoutMs: 1500 });
    const vm = await backend.create(fixture.request('clinging'));
    await expect(vm.start(startRequest())).rejects.toMatchObject({
      code: 'VmFailed',
      message: expect.stringContaining('1500 ms'),
    });
    expect(finish).toHaveBeenCalledOnce();
    expect(await vm.observe()).toBe('off');
    fixture.expectNothingLeft();
  });

  test('because the caller went away', async () => {
    const vm = await fixture.create('cancelled');
    const signal = AbortSignal.timeout(300);
    await expect(vm.start(startRequest(), { signal })).rejects.toMatchObject({ code: 'Cancelled' });
    fixture.expectNothingLeft();
  });

  test('because QEMU refuses: in its own words', async () => {
    const request = fixture.request('refused');
    const image = { ...request.image, rootfsPath: '/no/such/image' };
    const vm = await fixture.backend().create({ ...request, image });
    await expect(vm.start(startRequest())).rejects.toMatchObject({
      code: 'VmFailed',
      message: expect.stringContaining('/no/such/image'),
    });
    fixture.expectNothingLeft();
  });

  test('because a layer of its disk was tampered with', async () => {
    const vm = await fixture.create('tampered');
    writeFileSync(join(fixture.stateDir.vmsDir, 'tampered/disk/1.qcow2'), 'QFI\xfb');
    await expect(vm.start(startRequest())).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
    fixture.expectNothingLeft();
  });
});

describe('the trial of an accelerator', () => {
  let fixture: MachineFixture;
  beforeAll(async () => {
    fixture = await openMachineFixture();
  });
  afterAll(() => fixture?.close());
  // KVM itself is never tried by tests: there are hosts on which it hangs. The trial is the same for software emulation.
  const trial = (deadlineMs: number) =>
    trialBoot({
      program: 'qemu-system-x86_64',
      accelerator: 'tcg',
      kernel: fixture.kernel,
      deadlineMs,
      clock: systemClock,
    });

  test('passes when the agent comes up', async () => {
    expect(await trial(60_000)).toBeUndefined();
  });

  test('fails at its deadline, and leaves no process', async () => {
    expect(await trial(300)).toMatch(/300 ms/);
    expect(processesOf(fixture.kernel.initramfsPath)).toEqual([]);
  });
});
