import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openStateDir, type StateDir } from '../../store/index.ts';
import { digestOf } from '../digest.ts';
import type { GuestKernel, KernelStore } from '../guest-kernel.ts';
import { openKernelStore } from './kernel-store.ts';
import { guestModules } from './module-closure.ts';
import { storeKernel } from './stored-kernel.ts';

let dir: string;
let stateDir: StateDir;
let agentPath: string;
/** What the first engine found, and how its files were called. */
let first: GuestKernel;
let kernelDir: string;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'prepared-'));
  stateDir = openStateDir({ root: join(dir, 'state') });
  agentPath = join(dir, 'agent');
  writeFileSync(agentPath, 'an agent');
  await storeKernel(stateDir.kernelsDir, join(stateDir.tmpDir, 'staged'), {
    release: '6.1.0-test',
    package: 'linux-image-test',
    createdAtMs: 1000,
    data: Buffer.from('a kernel'),
    modules: guestModules.map((name) => ({ name, data: Buffer.from(name) })),
  });
  first = await nextEngine().resolve();
  kernelDir = dirname(first.kernelPath);
});
afterEach(() => {
  stateDir[Symbol.dispose]();
  rmSync(stateDir.runtimeDir, { recursive: true, force: true });
  rmSync(dir, { recursive: true });
});

function nextEngine(): KernelStore {
  return openKernelStore({ stateDir, agentPath });
}

test('what an engine compared and packed, the next one takes without reading it', async () => {
  // Of the modules none is there any more, and none is looked for.
  rmSync(join(kernelDir, 'modules'), { recursive: true });
  const store = nextEngine();
  expect(await store.find()).toEqual(first);
  expect(await store.resolve()).toEqual(first);
  expect(await store.resolve()).toEqual(first);
});

const changes: [what: string, change: (path: string) => void][] = [
  ['was written to', overwrite],
  [
    'was replaced by another of the same size',
    (path) => {
      copyFileSync(path, `${path}.new`);
      overwrite(`${path}.new`);
      renameSync(`${path}.new`, path);
    },
  ],
];

let seconds = 0;

/** Each time a second later: tests are faster than the clock that files are stamped by. */
function overwrite(path: string): void {
  writeFileSync(path, readFileSync(path).fill('x', 3, 4));
  utimesSync(path, ++seconds, seconds);
}

test.each(changes)('an agent that %s is in the next initramfs', async (_what, change) => {
  const store = nextEngine();
  await store.resolve();
  change(agentPath);
  for (const next of [store, nextEngine()]) {
    const { initramfsPath, initramfsDigest } = await next.resolve();
    expect(initramfsDigest).not.toBe(first.initramfsDigest);
    expect(readFileSync(initramfsPath).includes(readFileSync(agentPath))).toBe(true);
  }
});

test.each(changes)('an initramfs that %s is made anew', async (_what, change) => {
  const store = nextEngine();
  await store.resolve();
  for (const next of [store, nextEngine()]) {
    change(first.initramfsPath);
    expect(await next.resolve()).toEqual(first);
    expect(digestOf(readFileSync(first.initramfsPath))).toBe(first.initramfsDigest);
  }
});

test.each(changes)('a kernel that %s is not booted', async (_what, change) => {
  const store = nextEngine();
  await store.resolve();
  change(first.kernelPath);
  for (const next of [store, nextEngine()]) expect(await next.find()).toBeUndefined();
});

test.each([
  ['is torn', '{ "format": 1, '],
  ['is of another version', '{ "format": 2 }'],
  ['leads elsewhere', undefined],
])('a record that %s is not believed', async (_what, text) => {
  const path = join(kernelDir, 'prepared.json');
  const lie = () => {
    const record = JSON.parse(readFileSync(path, 'utf8'));
    record.initramfs.digest = 'sha256:../../../agent';
    return JSON.stringify(record);
  };
  writeFileSync(path, text ?? lie());
  expect(await nextEngine().resolve()).toEqual(first);
  expect(readdirSync(stateDir.tmpDir)).toEqual([]);
});
