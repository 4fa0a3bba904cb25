import type { MachineShape } from '../../vm/backend.ts';
import type { Accelerator } from './accelerator.ts';
import { kernelArgs } from './kernel-args.ts';
import { cpuModel } from './machine-facts.ts';
import type { QemuVersion } from './qemu-version.ts';
import type { MachinePlaces } from './vm-places.ts';
import type { DiskRecord } from './vm-record.ts';

/** Everything QEMU's command line says. */
export interface MachinePlan {
  qemu: QemuVersion;
  accelerator: Accelerator;
  places: MachinePlaces;
  shape: MachineShape;
  /** `shared`: what the guest writes goes into the RAM file, which becomes a template's; `private`: the file is only read. */
  ram: 'shared' | 'private';
  /** `boot` starts the kernel; `incoming` waits for the state of a machine that ran before. */
  begin: 'boot' | 'incoming';
  /** The disk whose layers lie in the jail, with the image beside them; without it there are empty drives in their places. */
  disk: DiskRecord | undefined;
  /** Before the names of the drives' files, and of their block nodes. @default '' */
  drivePrefix?: string;
  /** Whom QEMU becomes, in its jail, once it has opened what it needs. `undefined`: it stays whoever it is. */
  dropTo: number | undefined;
}

/** virtio-blk serials by which the agent knows its disks (at most 20 bytes). */
export const imageSerial = 'alcove-image';
export const diskSerial = 'alcove-disk';
/** Ids by which QMP knows them. */
export const imageDevice = 'image0';
export const diskDevice = 'disk0';
/** The image's name in the jail. */
export const imageFile = 'image.squashfs';
export const consoleChardev = 'console0';
/** Kept of what the guest prints on its console; QEMU wants a power of two. */
export const consoleBytes = 256 * 1024;
/** Of TCG's translated code per VM, in MiB. QEMU's own default is up to a gigabyte. */
export const translationMiB = 128;

/** Addresses of user-mode networking, QEMU's defaults said aloud. */
export const userNetwork = { address: '10.0.2.15/24', gateway: '10.0.2.2', dns: ['10.0.2.3'] } as const;

/**
 * The command line of a machine that is not yet running (`-S`): nothing of the guest executes before its confinement has been
 * looked at. Slots are fixed, so that a device keeps its address whatever else there is. What changes here in the eyes of a guest
 * changes the layout in `machine-facts.ts`.
 */
export function machineArgs(plan: MachinePlan): string[] {
  const { places, shape } = plan;
  return [
    ...['-name', `guest=${places.processName}`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-S'],
    ...['-machine', 'q35,usb=off,vmport=off,sata=off,smbus=off,dump-guest-core=off,memory-backend=ram0'],
    ...acceleratorArgs(plan.accelerator),
    ...ramArgs(plan),
    ...['-smp', String(shape.cpus)],
    ...(plan.qemu.qboot ? ['-bios', 'qboot.rom'] : []),
    ...(plan.begin === 'boot' ? bootArgs(plan) : incomingArgs),
    // The guest's end leaves QEMU paused, so that console and cause can be read, by a later engine too.
    ...['-action', 'reboot=shutdown,shutdown=pause,panic=pause'],
    ...['-chardev', `socket,id=qmp0,path=${escaped(places.qmpSocket)},server=on,wait=off`],
    ...['-mon', 'chardev=qmp0,mode=control'],
    ...[
      '-chardev',
      `ringbuf,id=${consoleChardev},size=${consoleBytes}`,
      '-serial',
      `chardev:${consoleChardev}`,
    ],
    ...['-device', 'virtio-serial-pci,id=serial0,max_ports=2,addr=0x3'],
    ...['-chardev', `socket,id=agent0,path=${escaped(places.agentSocket)},server=on,wait=off`],
    ...['-device', 'virtserialport,bus=serial0.0,nr=1,chardev=agent0,name=alcove.agent'],
    ...driveArgs(plan.disk, plan.drivePrefix),
    ...['-object', 'rng-builtin,id=rng0', '-device', 'virtio-rng-pci,rng=rng0,addr=0x6'],
    ...(shape.network === 'user' ? networkArgs : ['-nic', 'none']),
    ...confinementArgs(plan),
  ];
}

function acceleratorArgs(accelerator: Accelerator): string[] {
  // The KVM line has not been run: the machine this was written on has none that works (docs/decisions/0003-boot-time.md).
  const accel = accelerator === 'kvm' ? 'kvm' : `tcg,tb-size=${translationMiB}`;
  return ['-accel', accel, '-cpu', cpuModel(accelerator)];
}

/**
 * Opened before QEMU gives up root. QEMU before 8.2 opens the file for writing even where it maps it privately, because
 * `readonly` made the guest's memory read-only too; since then `rom=off` says that it does not.
 */
function ramArgs({ places, qemu, ram, shape }: MachinePlan): string[] {
  const size = `size=${shape.memoryMiB}M`;
  const readOnly = qemu.major * 100 + qemu.minor >= 802 ? ',readonly=on,rom=off' : '';
  const access = ram === 'shared' ? 'share=on' : `share=off${readOnly}`;
  const backend = `memory-backend-file,id=ram0,mem-path=${escaped(places.ramPath)},${access},${size}`;
  return ['-m', String(shape.memoryMiB), '-object', backend];
}

function bootArgs({ accelerator, shape }: MachinePlan): string[] {
  const { kernelPath, initramfsPath } = shape.kernel;
  const append = kernelArgs(accelerator, shape.bootArgs);
  return ['-kernel', kernelPath, '-initrd', initramfsPath, '-append', append];
}

/** A state written by `xen-save-devices-state` begins without the section that this global leaves out. */
const incomingArgs = ['-incoming', 'defer', '-global', 'migration.send-configuration=off'];

/**
 * Sizes of the empty drives that a template is booted with; the guest goes on believing them whatever is put in their places,
 * and its file systems keep within their own.
 */
const emptyDriveBytes = { image: 2 ** 36, disk: 2 ** 40 } as const;

function driveArgs(disk: DiskRecord | undefined, prefix = ''): string[] {
  const nodes = disk ? driveNodes(disk, prefix) : emptyNodes;
  const names = disk ? driveNames(disk, prefix) : emptyNames;
  // A host without room is an I/O error in the guest, not a machine that hangs without a word.
  const errors = 'werror=report,rerror=report,discard=on';
  return [
    ...nodes.flatMap(blockNode),
    ...['-device', `virtio-blk-pci,id=${imageDevice},drive=${names.image},serial=${imageSerial},addr=0x4`],
    ...[
      '-device',
      `virtio-blk-pci,id=${diskDevice},drive=${names.disk},serial=${diskSerial},${errors},addr=0x5`,
    ],
  ];
}

const emptyNames = { image: 'no-image', disk: 'no-disk' } as const;
const emptyNodes = [
  {
    driver: 'null-co',
    'node-name': emptyNames.image,
    size: emptyDriveBytes.image,
    'read-zeroes': true,
    'read-only': true,
  },
  { driver: 'null-co', 'node-name': emptyNames.disk, size: emptyDriveBytes.disk, 'read-zeroes': true },
];

const imageNode = 'image';

/** The block nodes that the two drives are put on. */
export function driveNames(disk: DiskRecord, prefix = ''): { image: string; disk: string } {
  return { image: `${prefix}${imageNode}`, disk: `${prefix}${layerNode(disk.top)}` };
}

/** Every block node of the two drives, in the shape of QMP's `blockdev-add`, each after those that it stands on. */
export function driveNodes(disk: DiskRecord, prefix = ''): object[] {
  return [...imageNodes(prefix), ...diskNodes(disk, prefix)];
}

/** The image: read-only and shared between VMs, so without the file locks that a writer would need. */
function imageNodes(prefix: string): object[] {
  const name = `${prefix}${imageNode}`;
  const filename = `${folder(prefix)}${imageFile}`;
  return [
    { driver: 'file', 'node-name': `${name}-file`, filename, 'read-only': true, locking: 'off' },
    { driver: 'raw', 'node-name': name, file: `${name}-file`, 'read-only': true },
  ];
}

/** Drives with a prefix lie in a folder of that name. */
function folder(prefix: string): string {
  return prefix && `${prefix}/`;
}

/**
 * The disk's chain, node by node and by names relative to the jail: they mean the same before and after QEMU changes its
 * root, so the top can be reopened read-only when a snapshot makes it a lower layer. What a layer's own header says of a backing
 * file is never followed.
 */
function diskNodes(disk: DiskRecord, prefix: string): object[] {
  const nodes: object[] = [];
  let below: string | null = null;
  for (const { file } of disk.layers) {
    const index = Number.parseInt(file, 10);
    nodes.push(...layerNodes(index, below, 'read-only', prefix));
    below = `${prefix}${layerNode(index)}`;
  }
  return [...nodes, ...layerNodes(disk.top, below, 'writable', prefix)];
}

export function layerFile(index: number): string {
  return `${index}.qcow2`;
}

export function layerNode(index: number): string {
  return `layer-${index}`;
}

/** The two block nodes of a layer, in the shape of QMP's `blockdev-add`. @param below node of the layer under it, or `null` */
export function layerNodes(
  index: number,
  below: string | null,
  access: 'read-only' | 'writable',
  prefix = '',
): object[] {
  const name = `${prefix}${layerNode(index)}`;
  const mode = access === 'read-only' ? { 'read-only': true } : { 'auto-read-only': true, discard: 'unmap' };
  return [
    {
      driver: 'file',
      'node-name': `${name}-file`,
      filename: `${folder(prefix)}${layerFile(index)}`,
      ...mode,
    },
    {
      driver: 'qcow2',
      'node-name': name,
      file: `${name}-file`,
      backing: below,
      ...(access === 'read-only' ? { 'read-only': true } : { discard: 'unmap' }),
    },
  ];
}

/** The same address for all, since it is part of the state that copies share: no two are on one network, and guests set their own. */
const networkArgs = [
  '-netdev',
  `user,id=net0,ipv6=off,net=10.0.2.0/24,host=${userNetwork.gateway},dns=${userNetwork.dns[0]},dhcpstart=10.0.2.15`,
  '-device',
  'virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:00:00:01,romfile=,addr=0x7',
];

/**
 * Seccomp always. As root QEMU also gives up root, into a user of its own and a root directory that holds its disk alone;
 * the filter must let it do so once (`elevateprivileges=deny` kills it there), after which it has no capability
 * left, and `no_new_privs` is set.
 */
function confinementArgs(plan: MachinePlan): string[] {
  const { dropTo, places, qemu } = plan;
  const privileges = dropTo === undefined ? 'deny' : 'allow';
  const sandbox = `on,obsolete=deny,elevateprivileges=${privileges},spawn=deny,resourcecontrol=deny`;
  return ['-sandbox', sandbox, ...(dropTo === undefined ? [] : dropArgs(dropTo, places.jail, qemu))];
}

/** The options moved: `-chroot` became `-run-with chroot=` in QEMU 8.1, `-runas` `-run-with user=` in 9.1. */
function dropArgs(uid: number, jail: string, { major, minor }: QemuVersion): string[] {
  const at = major * 100 + minor;
  const chroot = at >= 801 ? ['-run-with', `chroot=${escaped(jail)}`] : ['-chroot', jail];
  const user = at >= 901 ? ['-run-with', `user=${uid}:${uid}`] : ['-runas', `${uid}:${uid}`];
  return [...chroot, ...user];
}

function blockNode(node: object): string[] {
  return ['-blockdev', JSON.stringify(node)];
}

/** A value inside a comma-separated option. */
function escaped(value: string): string {
  return value.replaceAll(',', ',,');
}
