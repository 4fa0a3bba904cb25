import { describe, expect, it } from 'vitest';
import { type MachinePlan, machineArgs } from './machine-args.ts';
import { machinePlaces } from './vm-places.ts';

const plan: MachinePlan = {
  qemu: { text: '7.2.22', major: 7, minor: 2, qboot: true },
  accelerator: 'tcg',
  places: machinePlaces({ root: '/s', runtimeDir: '/run/alcove/0123456789ab' }, 'web', '/s/vms/web/machine'),
  shape: {
    cpus: 2,
    memoryMiB: 512,
    diskMiB: 2048,
    network: 'none',
    kernel: { kernelPath: '/k', kernelDigest: '', initramfsPath: '/i', initramfsDigest: '', release: '' },
    bootArgs: ['mine=1'],
  },
  ram: 'private',
  begin: 'incoming',
  disk: {
    virtualBytes: 1 << 30,
    layers: [
      { file: '0.qcow2', digest: null },
      { file: '3.qcow2', digest: null },
    ],
    top: 4,
    content: 'changed',
  },
  dropTo: 1_900_000_000,
};

/** Values given to an option. */
const values = (args: string[], option: string) => args.filter((_, index) => args[index - 1] === option);
const nodes = (args: string[]) => values(args, '-blockdev').map((text) => JSON.parse(text));

describe('the command line', () => {
  it('starts a machine that does not run yet, with nothing but what is named', () => {
    const args = machineArgs(plan);
    expect(args).toEqual(expect.arrayContaining(['-S', '-nodefaults', '-no-user-config']));
    expect(values(args, '-nic')).toEqual(['none']);
    expect(values(args, '-netdev')).toEqual([]);
  });

  it('names every block node and what is below it; no file below the top is writable', () => {
    const all = nodes(machineArgs(plan));
    const qcow2 = all.filter(({ driver }) => driver === 'qcow2');
    expect(qcow2.map((node) => [node['node-name'], node.backing, node['read-only'] ?? false])).toEqual([
      ['layer-0', null, true],
      ['layer-3', 'layer-0', true],
      ['layer-4', 'layer-3', false],
    ]);
    const writable = all.filter((node) => !node['read-only']).map((node) => node['node-name']);
    expect(writable).toEqual(['layer-4-file', 'layer-4']);
  });

  it("names the disk's files relative to the jail, so that they mean the same inside it", () => {
    const files = nodes(machineArgs(plan)).filter(({ driver }) => driver === 'file');
    expect(files.map(({ filename }) => filename)).toEqual([
      'image.squashfs',
      '0.qcow2',
      '3.qcow2',
      '4.qcow2',
    ]);
  });

  it('keeps a comma in a path inside its value', () => {
    const places = { ...plan.places, qmpSocket: '/run/a,b/qmp.sock' };
    expect(values(machineArgs({ ...plan, places }), '-chardev')[0]).toContain('path=/run/a,,b/qmp.sock,');
  });

  it.each([
    [{ major: 7, minor: 2 }, ['-chroot', '-runas']],
    [{ major: 8, minor: 1 }, ['-run-with', '-runas']],
    [{ major: 9, minor: 1 }, ['-run-with', '-run-with']],
    [{ major: 10, minor: 0 }, ['-run-with', '-run-with']],
  ])('drops root by the options that QEMU %o has', (version, options) => {
    const args = machineArgs({ ...plan, qemu: { ...plan.qemu, ...version } });
    expect(args.filter((arg) => ['-chroot', '-runas', '-run-with'].includes(arg))).toEqual(options);
    expect(values(args, '-sandbox')[0]).toContain('spawn=deny');
  });

  it('denies every change of privileges to a QEMU that is not root to begin with', () => {
    const args = machineArgs({ ...plan, dropTo: undefined });
    expect(values(args, '-sandbox')[0]).toContain('elevateprivileges=deny');
    expect(args).not.toContain('-runas');
  });

  it("says user-mode networking's addresses aloud", () => {
    const args = machineArgs({ ...plan, shape: { ...plan.shape, network: 'user' } });
    expect(values(args, '-netdev')[0]).toMatch(/^user,.*host=10\.0\.2\.2,dns=10\.0\.2\.3/);
    expect(args.some((arg) => arg.startsWith('virtio-net-pci'))).toBe(true);
  });

  it("puts the caller's kernel arguments last, where they win", () => {
    expect(values(machineArgs({ ...plan, begin: 'boot' }), '-append')[0]).toMatch(/ mine=1$/);
  });

  it('maps its memory from a file, which only a template writes to', () => {
    const backend = (change: Partial<MachinePlan>) =>
      values(machineArgs({ ...plan, ...change }), '-object').find((object) => object.includes('ram0'));
    expect(backend({})).toContain('share=off,size=512M');
    expect(backend({ ram: 'shared' })).toContain('share=on,');
    expect(backend({ qemu: { ...plan.qemu, major: 8 } })).toContain('share=off,readonly=on,rom=off,');
  });

  it('has empty drives in the places of those that come later', () => {
    const args = machineArgs({ ...plan, disk: undefined });
    expect(nodes(args).map(({ driver }) => driver)).toEqual(['null-co', 'null-co']);
    const devices = (all: string[]) =>
      values(all, '-device')
        .filter((device) => device.startsWith('virtio-blk'))
        .map((device) => device.replace(/drive=[^,]*/, ''));
    expect(devices(args)).toEqual(devices(machineArgs(plan)));
  });
});
