import type { Keepsake } from '../backend.ts';

/** What is not needed any more. */
export type GarbageKind =
  | 'snapshot'
  | 'snapshot directory'
  | 'vm directory'
  | 'vm record'
  | Keepsake['kind']
  | 'image'
  | 'kernel'
  | 'initramfs'
  | 'half-made file';

export interface GarbageItem {
  kind: GarbageKind;
  name: string;
  /** For people: why nothing needs it. */
  why: string;
  /** What it alone takes of the disk. */
  bytes: number;
}

/** Something to remove, and how. */
export interface Garbage extends Omit<GarbageItem, 'bytes'> {
  paths: readonly string[];
  /** Looks again whether it is needed, and removes it if not. Says why it stays, when it does. Whole or not at all, whenever the engine dies. */
  remove(): Promise<'removed' | { stays: string }>;
}
