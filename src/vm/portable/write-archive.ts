import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { cancelled } from '../../errors.ts';
import { type ArchiveMember, checksumName, indexName } from './archive-contents.ts';
import { endOfTar, memberHeader, paddingAfter } from './archive-tar.ts';
import type { MemberSource } from './member-sources.ts';

export interface WriteOptions {
  signal?: AbortSignal | undefined;
  onMember?: (name: string, sizeBytes: number) => void;
}

type Written = Pick<ArchiveMember, 'name' | 'sizeBytes' | 'sha256'> & { source: MemberSource };

/** The tar of an archive: its index, its members, and the checksum over both. The same index gives the same bytes. */
export async function* writeArchive(
  index: Buffer,
  members: readonly Written[],
  options: WriteOptions,
): AsyncGenerator<Buffer> {
  const whole = createHash('sha256');
  for await (const chunk of withoutChecksum(index, members, options)) {
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
  index: Buffer,
  members: readonly Written[],
  { signal, onMember }: WriteOptions,
): AsyncGenerator<Buffer> {
  yield Buffer.concat([memberHeader(indexName, index.length), index, paddingAfter(index.length)]);
  for (const { name, sizeBytes, sha256, source } of members) {
    onMember?.(name, sizeBytes);
    yield memberHeader(name, sizeBytes);
    const hash = createHash('sha256');
    let read = 0;
    try {
      for await (const chunk of contentOf(source)) {
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

async function* contentOf(source: MemberSource): AsyncGenerator<Buffer> {
  if ('path' in source)
    yield* createReadStream(source.path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>;
  else yield bufferOver(source.bytes());
}

function bufferOver({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
