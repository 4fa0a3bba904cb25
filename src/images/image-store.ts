import { mkdtemp, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError, cancelled, isAlcoveError } from '../errors.ts';
import { type Clock, type FlightContext, SingleFlight, systemClock } from '../host/index.ts';
import { type Database, renameDurably, type StateDir, storageError } from '../store/index.ts';
import { buildImage } from './build-image.ts';
import { hexOf } from './digest.ts';
import {
  builtinImage,
  type Image,
  type ImageCallOptions,
  type ImageSource,
  type ImageStore,
  type PlacedImage,
  type ReadyImage,
} from './image.ts';
import { checkName, checkReference, withTag } from './image-reference.ts';
import { type ImageRecord, ImageTable } from './image-table.ts';
import { mendImages } from './mend-images.ts';
import { readBuiltin } from './sources/builtin-image.ts';
import type { ImageContents } from './sources/image-contents.ts';
import { checkPath, displaySource, readSource } from './sources/read-source.ts';
import { resolveInRegistry } from './sources/registry-image.ts';

export interface ImageStoreOptions {
  stateDir: StateDir;
  database: Database;
  /** @default the system's */
  clock?: Clock;
}

/** The images of a state directory: a squashfs for each below `images/`, a row for each in the database. */
export function openImageStore(options: ImageStoreOptions): ImageStore {
  return new FileImageStore(options);
}

class FileImageStore implements ImageStore {
  readonly #stateDir: StateDir;
  readonly #clock: Clock;
  readonly #table: ImageTable;
  /** Gives digests: what an image is called may change while it is made. */
  readonly #flights = new SingleFlight<string>();

  constructor({ stateDir, database, clock = systemClock }: ImageStoreOptions) {
    this.#stateDir = stateDir;
    this.#clock = clock;
    this.#table = new ImageTable(database);
  }

  async add(source: ImageSource, options: ImageCallOptions & { name?: string } = {}): Promise<Image> {
    const { name } = options;
    if (name !== undefined) checkName(name);
    if (source.kind === 'registry') checkReference(source.reference);
    await checkPath(source);
    const what = displaySource(source);
    const digest = await this.#fly(`adding ${what}`, JSON.stringify(source), options, (context, tmpDir) =>
      this.#bring(source, context, tmpDir),
    );
    if (source.kind === 'registry') this.#table.point(withTag(source.reference), digest);
    if (name !== undefined) this.#table.point(name, digest);
    return this.#image(this.#known(digest));
  }

  async resolve(reference: string, options: ImageCallOptions = {}): Promise<Image> {
    const found = this.#lookUp(reference);
    if (found) return this.#image(found);
    if (reference !== builtinImage) throw unknownImage(reference);
    const digest = await this.#fly(
      'making the built-in image',
      builtinImage,
      options,
      async (context, tmpDir) => {
        const there = this.#table.byReference(builtinImage);
        if (there) return there.digest;
        return this.#keep(await readBuiltin(tmpDir, context), builtinImage, context, tmpDir);
      },
    );
    this.#table.point(builtinImage, digest);
    return this.#image(this.#known(digest));
  }

  async find(reference: string): Promise<Image | undefined> {
    const found = this.#lookUp(reference);
    return found && this.#image(found);
  }

  async list(): Promise<Image[]> {
    const key = (image: Image) => image.references[0] ?? '';
    const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
    return this.#table
      .all()
      .map((record) => this.#image(record))
      .sort((a, b) => byText(key(a), key(b)) || byText(a.digest, b.digest));
  }

  place(image: ReadyImage, squashfsPath: string): Promise<PlacedImage> {
    return this.#typed(`placing image ${image.digest}`, undefined, async () => {
      const { size } = await stat(squashfsPath);
      if (this.#table.get(image.digest)) {
        await rm(squashfsPath, { force: true });
        return { record: () => undefined, discard: async () => undefined };
      }
      const path = this.#pathOf(image.digest);
      await renameDurably(squashfsPath, path);
      return {
        record: () => this.#table.insert({ ...image, sizeBytes: size, createdAtMs: this.#clock.now() }),
        discard: async () => {
          if (!this.#table.get(image.digest)) await rm(path, { force: true });
        },
      };
    });
  }

  async remove(reference: string, inUse: ReadonlySet<string>): Promise<void> {
    const image = this.#lookUp(reference);
    if (!image) throw unknownImage(reference);
    if (inUse.has(image.digest)) {
      throw new AlcoveError('ImageInUse', `image ${reference} (${image.digest}) is in use`, {
        details: { digest: image.digest },
      });
    }
    // Row first: a file without a row is only litter, which mend() takes away.
    this.#table.delete(image.digest);
    await this.#typed(`removing ${reference}`, undefined, () =>
      rm(this.#pathOf(image.digest), { force: true }),
    );
  }

  mend(): Promise<string[]> {
    return this.#typed('mending images', undefined, () => mendImages(this.#table, this.#stateDir.imagesDir));
  }

  /** Brings the source's image in, or finds it here; gives its digest. */
  async #bring(source: ImageSource, context: FlightContext, tmpDir: string): Promise<string> {
    const what = displaySource(source);
    const digest =
      source.kind === 'registry'
        ? await resolveInRegistry(source, { tmpDir, name: what, origin: 'registry', signal: context.signal })
        : undefined;
    if (digest !== undefined && this.#table.get(digest)) return digest;
    const contents = await readSource(source, { tmpDir, digest, context });
    return this.#keep(contents, `${source.kind}:${what}`, context, tmpDir);
  }

  async #keep(
    contents: ImageContents,
    source: string,
    context: FlightContext,
    tmpDir: string,
  ): Promise<string> {
    const place = (digest: string) => (this.#table.get(digest) ? undefined : this.#pathOf(digest));
    const built = await buildImage(contents, { tmpDir, place, context });
    if (built.path === undefined) return built.digest;
    try {
      const { size } = await stat(built.path);
      this.#table.insert({
        digest: built.digest,
        config: contents.config,
        sizeBytes: size,
        createdAtMs: this.#clock.now(),
        source,
      });
    } catch (error) {
      // Another source of the same image may have put its row meanwhile.
      if (!this.#table.get(built.digest)) await rm(built.path, { force: true });
      throw error;
    }
    return built.digest;
  }

  /** By reference, by digest, or by what a digest starts with. */
  #lookUp(reference: string): ImageRecord | undefined {
    const named = this.#table.byReference(reference) ?? this.#table.byReference(withTag(reference));
    if (named) return named;
    const hex = /^(?:sha256:)?([0-9a-f]{8,64})$/.exec(reference)?.[1];
    if (hex === undefined) return undefined;
    const [found, another] = this.#table.byPrefix(`sha256:${hex}`);
    if (!another) return found;
    throw new AlcoveError('InvalidInput', `several images have a digest that starts with ${hex}`, {
      remedy: 'Give more of the digest.',
      details: { field: 'image' },
    });
  }

  #known(digest: string): ImageRecord {
    const record = this.#table.get(digest);
    if (record) return record;
    throw new AlcoveError('ImageNotFound', `image ${digest} was removed as soon as it was there`);
  }

  #image(record: ImageRecord): Image {
    return { ...record, rootfsPath: this.#pathOf(record.digest) };
  }

  #pathOf(digest: string): string {
    return join(this.#stateDir.imagesDir, `${hexOf(digest)}.squashfs`);
  }

  /** Runs work once for all who ask for it, in a folder of its own that is gone afterwards. */
  #fly(
    what: string,
    key: string,
    options: ImageCallOptions,
    work: (context: FlightContext, tmpDir: string) => Promise<string>,
  ): Promise<string> {
    return this.#typed(what, options.signal, () =>
      this.#flights.run(key, options, async (context) => {
        const tmpDir = await mkdtemp(join(this.#stateDir.tmpDir, 'image-'));
        try {
          return await work(context, tmpDir);
        } finally {
          await rm(tmpDir, { recursive: true, force: true });
        }
      }),
    );
  }

  /** Turns what a file system or a signal says into the errors that callers know. */
  async #typed<T>(what: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (signal?.aborted) throw cancelled(what, signal);
      throw isAlcoveError(error) ? error : storageError(this.#stateDir.root, error);
    }
  }
}

function unknownImage(reference: string): AlcoveError<'ImageNotFound'> {
  return new AlcoveError('ImageNotFound', `no image ${JSON.stringify(reference)} here`);
}
