import { createHash } from 'node:crypto';
import { digestFile } from '../store/index.ts';

/** `sha256:<hex>` of bytes. */
export function digestOf(data: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

/** `sha256:<hex>` of a file's bytes. */
export async function digestOfFile(path: string, signal?: AbortSignal): Promise<string> {
  return `sha256:${(await digestFile(path, signal)).sha256}`;
}

/** The hex part of a digest: what files are named by. */
export function hexOf(digest: string): string {
  return digest.slice('sha256:'.length);
}

/** Whether it is `sha256:` and 64 lower-case hex digits, as all digests here are. */
export function isDigest(text: string): boolean {
  return /^sha256:[0-9a-f]{64}$/.test(text);
}
