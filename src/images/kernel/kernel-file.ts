import { open } from 'node:fs/promises';
import { AlcoveError } from '../../errors.ts';

/**
 * The release of a bzImage, as `uname -r` will say it.
 *
 * The x86 boot protocol (Documentation/arch/x86/boot.rst) puts `HdrS` at 0x202 and, at 0x20e, the offset less 0x200 of a
 * string that starts with the release.
 *
 * @throws AlcoveError `InvalidInput` when it cannot be read or is no bzImage
 */
export async function readKernelRelease(kernelPath: string): Promise<string> {
  const head = Buffer.alloc(64 << 10);
  try {
    await using file = await open(kernelPath, 'r');
    await file.read(head, 0, head.length, 0);
  } catch (error) {
    throw invalid(`cannot read the kernel ${kernelPath}: ${(error as Error).message}`, error);
  }
  const start = head.readUInt16LE(0x20e) + 0x200;
  if (head.toString('latin1', 0x202, 0x206) !== 'HdrS' || start >= head.length) {
    throw invalid(`${kernelPath} is no bzImage`);
  }
  const release = /^[\w.+~-]+/.exec(head.toString('latin1', start, start + 256))?.[0];
  if (release === undefined) throw invalid(`${kernelPath} does not say its release`);
  return release;
}

function invalid(message: string, cause?: unknown): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', message, {
    remedy: 'Name a bzImage, e.g. the vmlinuz of a Linux distribution.',
    details: { field: 'kernelPath' },
    cause,
  });
}
