import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { chooseAccelerator, type KvmEvidence, rememberTrial } from './accelerator.ts';

const kernel = { kernelPath: '', kernelDigest: 'k', initramfsPath: '', initramfsDigest: 'i', release: '' };
const withFlag = 'processor : 0\nflags\t\t: fpu vmx sse\n';
const withoutFlag = 'processor : 0\nflags\t\t: fpu sse vmxnot\nbugs : svm\n';

function evidence(
  given: { cpu?: string; kvm?: string; trial?: string } = {},
): KvmEvidence & { trials: number } {
  return {
    trials: 0,
    cpuInfo: async () => given.cpu ?? withFlag,
    openKvm: async () => given.kvm,
    async trial() {
      this.trials++;
      return given.trial;
    },
  };
}

describe('the accelerator', () => {
  it('is KVM when a kernel was seen to boot with it', async () => {
    expect(await chooseAccelerator('auto', kernel, evidence())).toMatchObject({ accelerator: 'kvm' });
    expect(await chooseAccelerator('kvm', kernel, evidence())).toMatchObject({ accelerator: 'kvm' });
  });

  it.each([
    ['the flag is missing', { cpu: withoutFlag }, 'no vmx or svm flag'],
    ['the device does not open', { kvm: '/dev/kvm does not open: EACCES' }, 'EACCES'],
    ['the trial hangs', { trial: 'a kernel did not come up' }, 'did not come up'],
  ])('is software emulation by itself when %s, but never where KVM was asked for', async (_, given, why) => {
    const choice = await chooseAccelerator('auto', kernel, evidence(given));
    expect(choice).toMatchObject({ accelerator: 'tcg', reason: expect.stringContaining(why) });
    await expect(chooseAccelerator('kvm', kernel, evidence(given))).rejects.toMatchObject({
      code: 'BackendUnavailable',
      message: expect.stringContaining(why),
    });
  });

  it('tries nothing on a processor without the flag, nor without a kernel, nor when told', async () => {
    const flagless = evidence({ cpu: withoutFlag });
    await chooseAccelerator('auto', kernel, flagless);
    expect(flagless.trials).toBe(0);
    const flagged = evidence();
    expect(await chooseAccelerator('auto', undefined, flagged)).toMatchObject({ accelerator: 'tcg' });
    expect(await chooseAccelerator('tcg', kernel, flagged)).toMatchObject({ accelerator: 'tcg' });
    expect(flagged.trials).toBe(0);
  });
});

describe('a trial', () => {
  const dir = mkdtempSync(join(tmpdir(), 'alcove-trial-'));
  afterAll(() => rmSync(dir, { recursive: true }));

  it.each([undefined, 'it hung'])(
    'whose answer is %s is made once per boot, QEMU and kernel',
    async (answer) => {
      let trials = 0;
      const trial = async () => {
        trials++;
        return answer;
      };
      const key = [`boot-${answer}`, '7.2'];
      expect(await rememberTrial(dir, key, trial)(kernel)).toBe(answer);
      expect(await rememberTrial(dir, key, trial)(kernel)).toBe(answer);
      expect(trials).toBe(1);
      await rememberTrial(dir, key, trial)({ ...kernel, kernelDigest: 'other' });
      await rememberTrial(dir, ['other boot', '7.2'], trial)(kernel);
      expect(trials).toBe(3);
    },
  );
});
