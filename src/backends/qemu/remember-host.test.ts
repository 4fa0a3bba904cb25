import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { HostFacts, QemuHost } from './probe-host.ts';
import { rememberHost } from './remember-host.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'alcove-remember-'));
  for (const name of ['system', 'img']) writeFileSync(join(dir, name), name, { mode: 0o755 });
});
afterEach(() => rmSync(dir, { recursive: true }));

const facts: HostFacts = { arch: 'x64', uid: 1000, uidMap: '', cgroups: { kind: 'none', reason: 'none' } };

/** @returns the version it says, and how often the programs were asked for it */
async function ask(answers: string[], change: Partial<HostFacts> = {}): Promise<[string, number]> {
  const programs = { system: join(dir, 'system'), img: join(dir, 'img') };
  let asked = 0;
  const host = await rememberHost(dir, programs, { ...facts, ...change }, async (): Promise<QemuHost> => {
    const text = answers[asked++] ?? '';
    const qemu = { text, major: 7, minor: 2, qboot: true };
    return { qemu, programs, uids: undefined, cgroups: facts.cgroups };
  });
  return [host.qemu.text, asked];
}

it('asks programs once, whatever engine comes, and again when one of them is another', async () => {
  expect(await ask(['7.2.1'])).toEqual(['7.2.1', 1]);
  expect(await ask(['7.2.2'])).toEqual(['7.2.1', 0]);
  writeFileSync(join(dir, 'img'), 'another', { mode: 0o755 });
  expect(await ask(['7.2.3'])).toEqual(['7.2.3', 1]);
});

it('asks again when what it remembers makes no sense, or a program is gone', async () => {
  await ask(['7.2.1']);
  writeFileSync(join(dir, 'qemu-host.json'), '{');
  expect(await ask(['7.2.2'])).toEqual(['7.2.2', 1]);
  rmSync(join(dir, 'system'));
  expect(await ask(['7.2.3'])).toEqual(['7.2.3', 1]);
});

it('looks at the host itself each time', async () => {
  await ask(['7.2.1']);
  await expect(ask(['7.2.2'], { uid: 0, uidMap: '0 0 1' })).rejects.toMatchObject({
    code: 'BackendUnavailable',
  });
});
