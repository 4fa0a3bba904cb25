import { expect, test } from 'vitest';
import type { VmSpec } from './vm.ts';
import { checkKernelFiles, checkRestoreSpec, checkVmSpec } from './vm-spec.ts';

const host = { cores: 4, memoryMiB: 8192, diskMiB: 100_000 };

test('every field but the image has a default', () => {
  expect(checkVmSpec({ image: 'debian' }, host)).toEqual({
    id: undefined,
    image: 'debian',
    cpus: 1,
    memoryMiB: 256,
    diskMiB: 2048,
    network: 'none',
    env: {},
    labels: {},
    kernel: {},
    bootArgs: [],
  });
});

test('what is given is kept as it is', () => {
  const spec: VmSpec = {
    id: 'web-1',
    image: 'debian:12',
    cpus: 4,
    memoryMiB: 8192,
    diskMiB: 100_000,
    network: 'user',
    env: { PATH: '/bin', EMPTY: '', 'odd name': 'line\nline' },
    labels: { team: 'a=b' },
    kernel: '/boot/vmlinuz',
    modules: '/lib/modules/6',
    initramfs: '/boot/initramfs',
    bootArgs: ['quiet', 'name="a b"'],
  };
  expect(checkVmSpec(spec, host)).toEqual({
    ...spec,
    kernel: { kernelPath: '/boot/vmlinuz', modulesDir: '/lib/modules/6', initramfsPath: '/boot/initramfs' },
    modules: undefined,
    initramfs: undefined,
  });
});

const bad: readonly (readonly [string, unknown, string])[] = [
  ['no spec', null, 'spec'],
  ['no image', {}, 'image'],
  ['an empty image', { image: '' }, 'image'],
  ['an image with a NUL', { image: 'a\0b' }, 'image'],
  ['an id with capitals', { id: 'Web' }, 'id'],
  ['an id that begins with a dash', { id: '-web' }, 'id'],
  ['an id that would leave its folder', { id: '../web' }, 'id'],
  ['an id that is too long', { id: 'a'.repeat(64) }, 'id'],
  ['an empty id', { id: '' }, 'id'],
  ['no processor', { cpus: 0 }, 'cpus'],
  ['half a processor', { cpus: 0.5 }, 'cpus'],
  ['a processor as text', { cpus: '1' }, 'cpus'],
  ['more processors than the host', { cpus: 5 }, 'cpus'],
  ['too little memory', { memoryMiB: 63 }, 'memoryMiB'],
  ['more memory than the host', { memoryMiB: 8193 }, 'memoryMiB'],
  ['memory that is no number', { memoryMiB: Number.NaN }, 'memoryMiB'],
  ['endless disk', { diskMiB: Number.POSITIVE_INFINITY }, 'diskMiB'],
  ['too little disk', { diskMiB: 15 }, 'diskMiB'],
  ['more disk than the host', { diskMiB: 100_001 }, 'diskMiB'],
  ['an unknown network', { network: 'bridge' }, 'network'],
  ['a variable without a name', { env: { '': 'x' } }, 'env.'],
  ['a variable with = in its name', { env: { 'A=B': 'x' } }, 'env.A=B'],
  ['a variable with a NUL', { env: { A: 'x\0y' } }, 'env.A'],
  ['a variable that is no text', { env: { A: 1 } }, 'env.A'],
  ['a label with a NUL in its name', { labels: { 'a\0': 'x' } }, 'labels.a\0'],
  ['a label that is too long', { labels: { a: 'x'.repeat(1025) } }, 'labels.a'],
  ['an empty kernel path', { kernel: '' }, 'kernel'],
  ['a boot argument with a line end', { bootArgs: ['a\nb'] }, 'bootArgs.0'],
  ['boot arguments beyond what a kernel takes', { bootArgs: ['x'.repeat(1025)] }, 'bootArgs'],
  ['a field that is not known', { memory: 512 }, 'memory'],
];

test.for(bad)('%s is refused and named', ([what, spec, field]) => {
  const whole = what === 'no spec' || what === 'no image' ? spec : { image: 'debian', ...(spec as object) };
  expect(() => checkVmSpec(whole as VmSpec, host)).toThrowError(
    expect.objectContaining({ code: 'InvalidInput', details: { field } }),
  );
});

test('a copy may have an id, variables and labels of its own, and nothing else', () => {
  expect(checkRestoreSpec({ id: 'b', env: { A: '1' }, labels: { l: 'x' } })).toEqual({
    id: 'b',
    env: { A: '1' },
    labels: { l: 'x' },
    memory: 'include',
  });
  const spec: object = { cpus: 2 };
  expect(() => checkRestoreSpec(spec)).toThrowError(
    expect.objectContaining({ code: 'InvalidInput', details: { field: 'cpus' } }),
  );
});

test.for([
  ['kernel', { kernelPath: '/nowhere/vmlinuz' }],
  ['modules', { modulesDir: '/nowhere/modules' }],
  ['initramfs', { initramfsPath: '/nowhere/initramfs' }],
] as const)('a %s that is not there is refused and named', async ([field, request]) => {
  await expect(checkKernelFiles(request)).rejects.toMatchObject({ code: 'InvalidInput', details: { field } });
});

test('a kernel that is there is taken', async () => {
  await checkKernelFiles({ kernelPath: import.meta.filename });
});
