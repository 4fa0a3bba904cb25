import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type CpioEntry, writeCpio } from './cpio.ts';

const entries: CpioEntry[] = [
  { kind: 'directory', path: 'dev', mode: 0o755 },
  { kind: 'device', path: 'dev/null', mode: 0o666, major: 1, minor: 3 },
  { kind: 'directory', path: 'modules', mode: 0o755 },
  { kind: 'file', path: 'modules/a.ko', mode: 0o644, data: Buffer.from('odd') },
  { kind: 'file', path: 'init', mode: 0o755, data: Buffer.from('#!/bin/sh\n') },
  { kind: 'file', path: 'empty', mode: 0o600, data: new Uint8Array() },
];

test('busybox cpio unpacks what was written', () => {
  const dir = mkdtempSync(join(tmpdir(), 'cpio-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const unpacked = spawnSync('busybox', ['cpio', '-i', '-d'], { cwd: dir, input: writeCpio(entries) });
  expect(unpacked.stderr.toString()).not.toContain('cpio:');
  expect(readdirSync(dir, { recursive: true }).sort()).toEqual(entries.map((entry) => entry.path).sort());
  expect(readFileSync(join(dir, 'modules/a.ko'), 'utf8')).toBe('odd');
  expect(statSync(join(dir, 'init')).mode & 0o7777).toBe(0o755);
  expect(statSync(join(dir, 'dev/null')).rdev).toBe(0x103);
});

test('the same entries give the same bytes, in whole words', () => {
  expect(writeCpio(entries)).toEqual(writeCpio(entries));
  expect(writeCpio(entries).length % 4).toBe(0);
});
