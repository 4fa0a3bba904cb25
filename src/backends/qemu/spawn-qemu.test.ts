import { describe, expect, it } from 'vitest';
import type { CgroupPlaces } from './cgroup-places.ts';
import type { MachinePlan } from './machine-args.ts';
import type { QemuHost } from './probe-host.ts';
import { describeLimits, limitedCommand } from './spawn-qemu.ts';
import { machinePlaces } from './vm-places.ts';

const uids = { base: 1_900_000_000, count: 4096 };
const plan: MachinePlan = {
  qemu: { text: '7.2.22', major: 7, minor: 2, qboot: true },
  accelerator: 'tcg',
  places: machinePlaces({ root: '/s', runtimeDir: '/run/alcove/0123456789ab' }, 'web', '/s/vms/web/machine'),
  shape: {
    cpus: 1,
    memoryMiB: 256,
    diskMiB: 2048,
    network: 'none',
    kernel: { kernelPath: '/k', kernelDigest: '', initramfsPath: '/i', initramfsDigest: '', release: '' },
    bootArgs: [],
  },
  ram: 'private',
  begin: 'incoming',
  disk: { virtualBytes: 1 << 30, layers: [], top: 0, content: 'as-image' },
  dropTo: uids.base,
};
const v2: CgroupPlaces = { kind: 'v2', parent: '/sys/fs/cgroup' };
const v1 = (...names: ('memory' | 'pids' | 'cpu')[]): CgroupPlaces => ({
  kind: 'v1',
  parents: Object.fromEntries(names.map((name) => [name, `/sys/fs/cgroup/${name}`])),
});
const none: CgroupPlaces = { kind: 'none', reason: 'no control groups are mounted' };

describe('what no control group limits, the process limits itself', () => {
  it.each<[CgroupPlaces, options: string[], said: string]>([
    [v2, [], 'cgroup v2: memory, pids, cpu'],
    [v1('memory', 'pids', 'cpu'), [], 'cgroup v1: memory, pids, cpu'],
    [v1('memory', 'pids'), [], 'cgroup v1: memory, pids; no limit on CPU'],
    [v1('pids'), ['--as', '--core'], 'cgroup v1: pids; prlimit: address space; no limit on CPU'],
    [v1('memory'), ['--nproc'], 'cgroup v1: memory; prlimit: processes; no limit on CPU'],
    [
      none,
      ['--as', '--core', '--nproc'],
      'prlimit: address space, processes; no limit on CPU (no control groups are mounted)',
    ],
  ])('%j', (cgroups, options, said) => {
    const programs = { system: 'qemu-system-x86_64', img: 'qemu-img' };
    const host: QemuHost = { qemu: plan.qemu, programs, uids, cgroups };
    const [program, args] = limitedCommand(host, plan);
    const own = args.slice(0, Math.max(0, args.indexOf('--')));
    expect(own.map((arg) => arg.split('=')[0])).toEqual(options);
    expect(program).toBe(options.length > 0 ? 'prlimit' : programs.system);
    expect(describeLimits(host)).toBe(said);
  });

  it('an ordinary user cannot have its processes counted, and is told so', () => {
    expect(describeLimits({ cgroups: none, uids: undefined })).toBe(
      'prlimit: address space; no limit on processes, CPU (no control groups are mounted)',
    );
  });
});
