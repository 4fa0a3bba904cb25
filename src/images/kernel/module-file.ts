import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { toolOutput } from '../tool-output.ts';

/** Reads a module, uncompressing `.ko.xz`, `.ko.gz` and `.ko.zst`: the guest loads plain ones only, which costs it least. */
export async function readModuleFile(path: string, signal?: AbortSignal): Promise<Buffer> {
  if (path.endsWith('.xz')) {
    const chunks: Buffer[] = [];
    for await (const chunk of toolOutput('xz', ['--decompress', '--stdout', path], { signal })) {
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }
  const data = await readFile(path, { signal });
  if (path.endsWith('.gz')) return promisify(gunzip)(data);
  if (path.endsWith('.zst')) return promisify(zstdDecompress)(data);
  return data;
}
