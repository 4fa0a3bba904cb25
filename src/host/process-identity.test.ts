import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bootId, identifyProcess, isAlive, signalProcess } from './process-identity.ts';

let child: ChildProcess;
let pid: number;
beforeEach(async () => {
  child = spawn(process.execPath, ['-e', 'console.log(); setInterval(() => {}, 1000)'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (child.stdout) await once(child.stdout, 'data');
  pid = child.pid ?? 0;
});
afterEach(() => child.kill('SIGKILL'));

test('a process is known by pid, start and boot', () => {
  const identity = identifyProcess(pid);
  expect(identity).toEqual({ pid, startTicks: expect.stringMatching(/^\d+$/), bootId: bootId() });
  expect(identity && isAlive(identity)).toBe(true);
});

test('another process with its pid, or of another boot, is not it', () => {
  const identity = { pid, startTicks: '1', bootId: bootId() };
  expect(isAlive(identity)).toBe(false);
  expect(signalProcess(identity, 'SIGKILL')).toBe(false);
  const now = identifyProcess(pid);
  expect(now && isAlive({ ...now, bootId: 'another' })).toBe(false);
  expect(child.killed).toBe(false);
  expect(now && isAlive(now)).toBe(true);
});

test('a process that was ended is gone', async () => {
  const identity = identifyProcess(pid);
  if (!identity) return expect.unreachable();
  expect(signalProcess(identity, 'SIGTERM')).toBe(true);
  await once(child, 'exit');
  expect(isAlive(identity)).toBe(false);
  expect(signalProcess(identity, 'SIGTERM')).toBe(false);
  expect(identifyProcess(pid)).toBeUndefined();
});

test('a number that no process has identifies none', () => {
  expect(identifyProcess(0)).toBeUndefined();
});
