import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cgroupFiles, makeCgroups } from './cgroup-limits.ts';
import { findCgroupPlaces, groupsNamed } from './cgroup-places.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'alcove-cgroup-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const limits = { memoryBytes: 1 << 29, cpus: 1.5, tasks: 129 };

/** A directory tree that looks like mounted control groups. */
function tree(files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

describe('version 1', () => {
  const mounts = (...controllers: string[]) =>
    controllers.map((name) => `cgroup ${root}/${name} cgroup rw,relatime,${name} 0 0`).join('\n');

  it("puts VMs below the engine's own group in each hierarchy", () => {
    tree({ 'memory/app/tasks': '', 'pids/tasks': '', 'cpu,cpuacct/tasks': '' });
    const own = '9:memory:/app\n8:pids:/\n3:cpu,cpuacct:/\n0::/';
    const places = findCgroupPlaces(own, mounts('memory', 'pids', 'cpu,cpuacct'), 'trial');
    expect(places).toEqual({
      kind: 'v1',
      parents: { memory: `${root}/memory/app`, pids: `${root}/pids`, cpu: `${root}/cpu,cpuacct` },
    });
    const files = cgroupFiles(places, 'vm', limits);
    makeCgroups(files);
    expect(readFileSync(`${root}/memory/app/vm/memory.limit_in_bytes`, 'utf8')).toBe('536870912');
    expect(readFileSync(`${root}/pids/vm/pids.max`, 'utf8')).toBe('129');
    expect(readFileSync(`${root}/cpu,cpuacct/vm/cpu.cfs_quota_us`, 'utf8')).toBe('150000');
    expect([...files.keys()].sort()).toEqual(groupsNamed(places, 'vm').sort());
    expect(existsSync(`${root}/memory/app/trial`)).toBe(false);
  });

  it('uses what there is when a controller is not to be had', () => {
    tree({ 'memory/tasks': '' });
    const places = findCgroupPlaces('9:memory:/\n8:pids:/', mounts('memory', 'pids-not-mounted'), 'trial');
    expect(places).toMatchObject({ kind: 'v1', parents: { memory: `${root}/memory` } });
  });
});

describe('version 2', () => {
  const mounts = () => `cgroup2 ${root} cgroup2 rw 0 0`;

  it('takes the nearest group at or above the engine that can be divided', () => {
    tree({
      'cgroup.controllers': 'cpu memory pids',
      'user/cgroup.controllers': 'cpu memory pids',
      'user/cgroup.subtree_control': 'memory pids',
      'user/session/cgroup.controllers': 'memory pids',
    });
    const places = findCgroupPlaces('0::/user/session', mounts(), 'trial');
    expect(places).toEqual({ kind: 'v2', parent: `${root}/user` });
    expect(readFileSync(`${root}/user/cgroup.subtree_control`, 'utf8')).toBe('+cpu');
    expect(Object.fromEntries(cgroupFiles(places, 'vm', limits))).toEqual({
      [`${root}/user/vm`]: { 'memory.max': '536870912', 'pids.max': '129', 'cpu.max': '150000 100000' },
    });
  });

  it('says why when there is none', () => {
    tree({ 'cgroup.controllers': 'cpuset' });
    expect(findCgroupPlaces('0::/a', mounts(), 'trial')).toMatchObject({
      kind: 'none',
      reason: expect.stringContaining('/a'),
    });
    expect(findCgroupPlaces('0::/a', '', 'trial')).toMatchObject({ kind: 'none' });
  });
});
