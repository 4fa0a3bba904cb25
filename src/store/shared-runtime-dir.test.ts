import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openStateDir } from './state-dir.ts';

let place: string;
let uid: number;
vi.mock(import('node:os'), async (original) => {
  const real = await original();
  return { ...real, tmpdir: () => place, userInfo: (() => ({ uid })) as unknown as typeof real.userInfo };
});
beforeEach(() => {
  uid = process.getuid?.() || 4711; // Root has /run.
  place = mkdtempSync(join(process.env.TMPDIR || '/tmp', 'alcove-shared-'));
});
afterEach(() => rmSync(place, { recursive: true }));

const open = () => openStateDir({ root: join(place, 'state'), env: {} });

test('sockets are not kept in a folder of the shared temporary directory that others may write', () => {
  const base = join(os.tmpdir(), `alcove-${uid}`);
  mkdirSync(base);
  if (process.getuid?.() === 0) chownSync(base, uid, uid);
  chmodSync(base, 0o777);
  expect(open).toThrowError(
    expect.objectContaining({ code: 'StateUnusable', message: expect.stringContaining(base) }),
  );
});

test('nor in one that belongs to somebody else', () => {
  uid = (process.getuid?.() ?? 0) + 4711;
  mkdirSync(join(os.tmpdir(), `alcove-${uid}`), { mode: 0o700 });
  expect(open).toThrowError(expect.objectContaining({ code: 'StateUnusable' }));
});
