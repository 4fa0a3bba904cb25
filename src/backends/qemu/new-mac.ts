import { randomBytes } from 'node:crypto';

/** Locally administered, in QEMU's own range, and random: no two VMs share one, those made from one snapshot neither. */
export function newMac(): string {
  const [a = 0, b = 0, c = 0] = randomBytes(3);
  return ['52', '54', '00', ...[a, b, c].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
