import type { MachineShape } from '../../vm/backend.ts';
import type { Accelerator } from './accelerator.ts';
import { kernelArgs } from './kernel-args.ts';
import type { QemuVersion } from './qemu-version.ts';
import type { VmPlaces } from './vm-places.ts';
import type { DiskRecord } from './vm-record.ts';

/** Everything QEMU's command line says. */
export interface MachinePlan {
  qemu: QemuVersion;
  accelerator: Accelerator;
  places: VmPlaces;
  shape: MachineShape;
  imagePath: string;
  disk: DiskRecord;
  mac: string;
  /** Whom QEMU becomes, in its jail, once it has opened what it needs. `undefined`: it stays whoever it is. */
  dropTo: number | undefined;
}

/** virtio-blk serials by which the agent knows its disks (at most 20 bytes). */
export const imageSerial = 'alcove-image';
export const diskSerial = 'alcove-disk';
/** Ids by which QMP knows them. */
export const diskDevice = 'disk0';
export const consoleChardev = 'console0';
/** Kept of what the guest prints on its console; QEMU wants a power of two. */
export const consoleBytes = 256 * 1024;
/** Of TCG's translated code per VM, in MiB. QEMU's own default is up to a gigabyte. */
export const translationMiB = 128;

/** Addresses of user-mode networking, QEMU's defaults said aloud. */
export const userNetwork = { address: '10.0.2.15/24', gateway: '10.0.2.2', dns: ['10.0.2.3'] } as const;

/**
 * The command line of a machine that is not yet running (`-S`): nothing of the guest executes before its confinement has been
 * looked at. Slots are fixed, so that a device keeps its address whatever else there is.
 */
export function machineArgs(plan: MachinePlan): string[] {
  const { places, shape } = plan;
  return [
    ...['-name', `guest=${places.processName}`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-S'],
    ...['-machine', 'q35,usb=off,vmport=off,sata=off,smbus=off,dump-guest-core=off'],
    ...acceleratorArgs(plan.accelerator),
    ...['-m', String(shape.memoryMiB), '-smp', String(shape.cpus)],
    ...(plan.qemu.qboot ? ['-bios', 'qboot.rom'] : []),
    ...['-kernel', shape.kernel.kernelPath, '-initrd', shape.kernel.initramfsPath],
    ...['-append', kernelArgs(plan.accelerator, shape.bootArgs)],
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
    ...imageArgs(plan.imagePath),
    ...diskArgs(plan.disk),
    ...['-object', 'rng-builtin,id=rng0', '-device', 'virtio-rng-pci,rng=rng0,addr=0x6'],
    ...(shape.network === 'user' ? networkArgs(plan.mac) : ['-nic', 'none']),
    ...confinementArgs(plan),
  ];
}

function acceleratorArgs(accelerator: Accelerator): string[] {
  // The KVM line has not been run: the machine this was written on has none that works (docs/decisions/0003-boot-time.md).
  return accelerator === 'kvm'
    ? ['-accel', 'kvm', '-cpu', 'host']
    : ['-accel', `tcg,tb-size=${translationMiB}`, '-cpu', 'max'];
}

/** The image: read-only and shared between VMs, so without the file locks that a writer would need. */
function imageArgs(path: string): string[] {
  return [
    ...blockNode({
      driver: 'file',
      'node-name': 'image-file',
      filename: path,
      'read-only': true,
      locking: 'off',
    }),
    ...blockNode({ driver: 'raw', 'node-name': 'image', file: 'image-file', 'read-only': true }),
    ...['-device', `virtio-blk-pci,id=image0,drive=image,serial=${imageSerial},addr=0x4`],
  ];
}

/**
 * The disk's chain, node by node and by names relative to the jail: they mean the same before and after QEMU changes its
 * root, so the top can be reopened read-only when a snapshot makes it a lower layer. What a layer's own header says of a backing
 * file is never followed.
 */
function diskArgs(disk: DiskRecord): string[] {
  const args: string[] = [];
  let below: string | null = null;
  for (const { file } of disk.layers) {
    const index = Number.parseInt(file, 10);
    args.push(...layerNodes(index, below, 'read-only').flatMap(blockNode));
    below = layerNode(index);
  }
  args.push(...layerNodes(disk.top, below, 'writable').flatMap(blockNode));
  // A host without room is an I/O error in the guest, not a machine that hangs without a word.
  const device = `virtio-blk-pci,id=${diskDevice},drive=${layerNode(disk.top)},serial=${diskSerial}`;
  return [...args, '-device', `${device},werror=report,rerror=report,discard=on,addr=0x5`];
}

export function layerFile(index: number): string {
  return `${index}.qcow2`;
}

export function layerNode(index: number): string {
  return `layer-${index}`;
}

/** The two block nodes of a layer, in the shape of QMP's `blockdev-add`. @param below node of the layer under it, or `null` */
export function layerNodes(index: number, below: string | null, access: 'read-only' | 'writable'): object[] {
  const name = layerNode(index);
  const mode = access === 'read-only' ? { 'read-only': true } : { 'auto-read-only': true, discard: 'unmap' };
  return [
    { driver: 'file', 'node-name': `${name}-file`, filename: layerFile(index), ...mode },
    {
      driver: 'qcow2',
      'node-name': name,
      file: `${name}-file`,
      backing: below,
      ...(access === 'read-only' ? { 'read-only': true } : { discard: 'unmap' }),
    },
  ];
}

function networkArgs(mac: string): string[] {
  const { gateway, dns } = userNetwork;
  return [
    ...['-netdev', `user,id=net0,ipv6=off,net=10.0.2.0/24,host=${gateway},dns=${dns[0]},dhcpstart=10.0.2.15`],
    ...['-device', `virtio-net-pci,id=nic0,netdev=net0,mac=${mac},romfile=,addr=0x7`],
  ];
}

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
