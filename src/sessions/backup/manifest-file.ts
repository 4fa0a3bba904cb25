import { z } from 'zod';
import { isAlcoveError } from '../../errors.ts';
import { invalidBackup } from './backup-error.ts';
import type { BackupManifest } from './backup-info.ts';
import { openRegular } from './open-regular.ts';

const size = z.number().int().nonnegative();
const schema = z.object({
  format: z.literal(1),
  sessionId: z.string(),
  createdAtMs: z.number().int(),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  fileBytes: size,
  tarBytes: size,
  contentBytes: size,
  entries: z.object({ files: size, directories: size, symlinks: size, hardLinks: size, others: size }),
  workdir: z.string(),
  image: z.object({ reference: z.string(), digest: z.string() }),
  versions: z.object({ alcove: z.string(), agent: z.string() }),
}) satisfies z.ZodType<BackupManifest>;

/** Ours have some 700 bytes. */
const maxBytes = 64 << 10;

export function formatManifest(manifest: BackupManifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/**
 * What was recorded of a backup.
 *
 * @returns `undefined` when there is no such file
 * @throws AlcoveError `BackupInvalid` (damaged) when it cannot be read, or is no manifest of a backup of this session
 */
export async function readManifest(path: string, sessionId: string): Promise<BackupManifest | undefined> {
  try {
    await using file = await openRegular(path, 'not followed');
    if (file === undefined) return undefined;
    const { size: bytes } = await file.stat();
    if (bytes > maxBytes) throw new Error(`it has ${bytes} bytes`);
    const manifest = schema.parse(JSON.parse(await file.readFile('utf8')));
    if (manifest.sessionId !== sessionId) throw new Error(`it is of session ${manifest.sessionId}`);
    return manifest;
  } catch (error) {
    if (isAlcoveError(error)) throw error;
    const why = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw invalidBackup('damaged', `the manifest ${path} is damaged: ${why}`, { cause: error });
  }
}
