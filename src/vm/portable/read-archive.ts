import { createHash } from 'node:crypto';
import { isAlcoveError } from '../../errors.ts';
import { ByteSource, readZstd } from '../../images/index.ts';
import { type ArchiveContents, type ArchiveMember, checksumName, indexName } from './archive-contents.ts';
import { invalidArchive } from './archive-error.ts';
import { maxIndexBytes, parseIndex } from './archive-index.ts';
import {
  checksumBytes,
  describeHeader,
  endOfTar,
  memberHeader,
  paddingAfter,
  tarBlockBytes,
} from './archive-tar.ts';

/**
 * Reads an archive from front to back, and takes nothing but the bytes that one of its index must have: each header is known before
 * it is read, so no member can be of another name, kind or size than listed, and none can come besides. What a
 * member's content is worth is known when {@link content} has ended, and of all of them when {@link end} has.
 *
 * Every error of the archive is `ArchiveInvalid`.
 */
export class ArchiveReader implements AsyncDisposable {
  readonly #source: ByteSource;
  readonly #whole = createHash('sha256');

  constructor(archive: AsyncIterable<Uint8Array>) {
    this.#source = new ByteSource(readZstd(archive));
  }

  async contents(): Promise<ArchiveContents> {
    const header = await this.#read(tarBlockBytes, indexName);
    const sizeBytes = Number.parseInt(header.toString('latin1', 124, 135), 8);
    if (!(sizeBytes <= maxIndexBytes) || !header.equals(memberHeader(indexName, sizeBytes))) {
      throw invalidArchive(
        'refused',
        `this is no snapshot that Alcove exported: it begins with ${describeHeader(header)}`,
      );
    }
    const json = await this.#read(sizeBytes, indexName);
    await this.#expect(paddingAfter(sizeBytes), indexName);
    return parseIndex(json.toString('utf8'));
  }

  /** The bytes of the next member; all of them must be read, and are compared with the index at their end. */
  async *content({ name, sizeBytes, sha256 }: ArchiveMember): AsyncGenerator<Buffer> {
    await this.#header(name, sizeBytes);
    const hash = createHash('sha256');
    let missing = sizeBytes;
    while (missing > 0) {
      const before = missing;
      for await (const chunk of this.#stream(missing)) {
        missing -= chunk.length;
        hash.update(chunk);
        this.#whole.update(chunk);
        yield chunk;
      }
      if (missing === before) throw cutShort(name);
    }
    if (hash.digest('hex') !== sha256)
      throw invalidArchive('damaged', `the archive is damaged: ${name} does not have its digest`, {
        member: name,
      });
    await this.#expect(paddingAfter(sizeBytes), name);
  }

  /** What follows the members: their checksum, and nothing. */
  async end(): Promise<void> {
    const expected = `${this.#whole.copy().digest('hex')}\n`;
    await this.#header(checksumName, checksumBytes);
    const said = await this.#read(checksumBytes, checksumName);
    if (said.toString('latin1') !== expected)
      throw invalidArchive('damaged', 'the archive is damaged: its checksum is another one', {
        member: checksumName,
      });
    await this.#expect(paddingAfter(checksumBytes), checksumName);
    await this.#expect(endOfTar, checksumName);
    if ((await this.#raw(() => this.#source.read(1))).length > 0)
      throw invalidArchive('refused', 'something follows the end of the archive');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.close();
  }

  async #header(name: string, sizeBytes: number): Promise<void> {
    const expected = memberHeader(name, sizeBytes);
    const header = await this.#read(expected.length, name);
    if (!header.equals(expected)) {
      throw invalidArchive(
        'refused',
        `the archive has ${describeHeader(header)} where its index says ${name} of ${sizeBytes} bytes`,
        { member: name },
      );
    }
  }

  async #expect(bytes: Buffer, member: string): Promise<void> {
    const found = await this.#read(bytes.length, member);
    if (!found.equals(bytes))
      throw invalidArchive('damaged', `the archive is damaged behind ${member}`, { member });
  }

  async #read(size: number, member: string): Promise<Buffer> {
    const found = await this.#raw(() => this.#source.read(size));
    if (found.length < size) throw cutShort(member);
    this.#whole.update(found);
    return found;
  }

  async *#stream(size: number): AsyncGenerator<Buffer> {
    const chunks = this.#source.stream(size);
    for (;;) {
      const next = await this.#raw(() => chunks.next());
      if (next.done) return;
      yield next.value;
    }
  }

  /** What reading the compressed bytes says, in words for an archive; errors of their source stay as they are. */
  async #raw<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!isAlcoveError(error, 'ImageInvalid')) throw error;
      if (error.details?.problem === 'cut short') throw cutShort(undefined, error);
      throw invalidArchive(
        'damaged',
        `the archive is damaged, or none: ${error.message}`,
        {},
        { cause: error },
      );
    }
  }
}

function cutShort(member: string | undefined, cause?: unknown) {
  return invalidArchive(
    'cut short',
    `the archive is cut short${member === undefined ? '' : `: it ends within ${member}`}`,
    member === undefined ? {} : { member },
    { cause },
  );
}
