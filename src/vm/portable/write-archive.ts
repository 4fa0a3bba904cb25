import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type AlcoveError, cancelled } from '../../errors.ts';
import { type ArchiveIndex, checksumName, indexName } from './archive-index.ts';
import { endOfTar, memberHeader, paddingAfter } from './archive-tar.ts';

/** Where the bytes of a member come from. */
export interface MemberSource {
  path: string;
  /** What they must have, where that is known before they are read. */
  sha256?: string;
  /** The error of bytes that are not, or no longer, those that are asked for. */
  changed: (cause?: unknown) => AlcoveError;
}

export interface WriteOptions {
  signal?: AbortSignal | undefined;
  onMember?: (name: string, sizeBytes: number) => void;
}

/** The tar of an archive: its index, its members, and the checksum over both. The same snapshot gives the same bytes. */
export async function* writeArchive(
  index: ArchiveIndex,
  sources: readonly MemberSource[],
  options: WriteOptions,
): AsyncGenerator<Buffer> {
  const whole = createHash('sha256');
  for await (const chunk of withoutChecksum(index, sources, options)) {
    whole.update(chunk);
    yield chunk;
  }
  const checksum = Buffer.from(`${whole.digest('hex')}\n`);
  yield Buffer.concat([
    memberHeader(checksumName, checksum.length),
    checksum,
    paddingAfter(checksum.length),
    endOfTar,
  ]);
}

async function* withoutChecksum(
  index: ArchiveIndex,
  sources: readonly MemberSource[],
  { signal, onMember }: WriteOptions,
): AsyncGenerator<Buffer> {
  const json = Buffer.from(`${JSON.stringify(index, undefined, 2)}\n`);
  yield Buffer.concat([memberHeader(indexName, json.length), json, paddingAfter(json.length)]);
  for (const [position, { name, sizeBytes, sha256 }] of index.members.entries()) {
    const source = sources[position];
    if (!source) throw new Error(`nobody knows where ${name} is`);
    onMember?.(name, sizeBytes);
    yield memberHeader(name, sizeBytes);
    const hash = createHash('sha256');
    let read = 0;
    try {
      for await (const chunk of createReadStream(source.path, {
        highWaterMark: 1 << 20,
      }) as AsyncIterable<Buffer>) {
        if (signal?.aborted) throw cancelled('exporting', signal);
        read += chunk.length;
        if (read > sizeBytes) break;
        hash.update(chunk);
        yield chunk;
      }
    } catch (error) {
      throw (error as NodeJS.ErrnoException).syscall === undefined ? error : source.changed(error);
    }
    if (read !== sizeBytes || hash.digest('hex') !== sha256) throw source.changed();
    yield paddingAfter(sizeBytes);
  }
}
