import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { probeHost } from './probe-host.ts';

const dir = mkdtempSync(join(tmpdir(), 'alcove-probe-'));
afterAll(() => rmSync(dir, { recursive: true }));

/** A program that says one thing. */
function program(name: string, says: string): string {
  const path = join(dir, name);
  writeFileSync(path, `#!/bin/sh\necho '${says}'\n`);
  chmodSync(path, 0o755);
  return path;
}

const facts = {
  arch: 'x64',
  uid: 0,
  uidMap: '0 0 4294967295',
  cgroups: { kind: 'none', reason: 'a test' },
} as const;
const programs = {
  system: program('qemu', 'QEMU emulator version 9.2.1 (v9.2.1)'),
  img: program('img', 'qemu-img version 9.2.1'),
};

describe('the probe', () => {
  it('reads the version', async () => {
    const host = await probeHost(programs, facts);
    expect(host.qemu).toEqual({ text: '9.2.1', major: 9, minor: 2, qboot: false });
    expect(host.uids).toBeDefined();
  });

  it('lets QEMU keep the user when the engine is not root', async () => {
    expect((await probeHost(programs, { ...facts, uid: 1000 })).uids).toBeUndefined();
  });

  it.each([
    ['another processor', programs, { ...facts, arch: 'arm64' }, 'arm64'],
    ['no QEMU', { ...programs, system: 'no-such-qemu' }, facts, 'no-such-qemu is not installed'],
    ['no qemu-img', { ...programs, img: 'no-such-img' }, facts, 'no-such-img is not installed'],
    ['an old QEMU', { ...programs, system: program('old', 'QEMU emulator version 6.2.0') }, facts, '6.2.0'],
    ['what is no QEMU', { ...programs, system: program('odd', 'hello') }, facts, 'hello'],
    ['root without other ids', programs, { ...facts, uidMap: '0 1000 1' }, 'no ids'],
  ])('says why not, and what to do, with %s', async (_, tools, given, reason) => {
    await expect(probeHost(tools, given)).rejects.toMatchObject({
      code: 'BackendUnavailable',
      message: expect.stringContaining(reason),
      remedy: expect.stringMatching(/\w/),
    });
  });
});
