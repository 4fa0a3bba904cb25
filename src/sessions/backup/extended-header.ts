import { isAlcoveError } from '../../errors.ts';
import { readPax } from '../../images/index.ts';
import { invalidBackup } from './backup-error.ts';
import { type TarHeader, text } from './tar-header.ts';

/** As the guest agent has it. Linux limits names to 4 KiB and an attribute to 64 KiB. */
export const maxExtensionBytes = 1 << 20;

export type ExtensionKind = 'pax' | 'global pax' | 'long name' | 'long target';

/** What the headers before an entry's own say of it. */
export class ExtendedHeader {
  readonly #seen = new Set<ExtensionKind>();
  #pax: ReadonlyMap<string, Buffer> = new Map();
  #longName: string | undefined;
  #longTarget: string | undefined;

  /** Whether there was one, so that an entry must follow. */
  get isOpen(): boolean {
    return this.#seen.size > 0;
  }

  /** @throws AlcoveError `BackupInvalid` */
  add(kind: ExtensionKind, body: Buffer): void {
    if (kind === 'global pax') {
      checkGlobals(readRecords(body));
      return;
    }
    // Without this a tar of nothing but these would have no end, whatever the limits.
    if (this.#seen.has(kind))
      throw invalidBackup('damaged', `the tar has two headers of kind ${kind} for one entry`);
    this.#seen.add(kind);
    if (kind === 'long name') this.#longName = text(body);
    else if (kind === 'long target') this.#longTarget = text(body);
    else this.#pax = readRecords(body);
  }

  /** The entry's header with what was said of it before. */
  apply(header: TarHeader): TarHeader {
    const name = this.value('GNU.sparse.name') ?? this.value('path') ?? this.#longName ?? header.name;
    for (const key of ['uid', 'gid']) this.#number(key, name);
    const target = this.value('linkpath') ?? this.#longTarget ?? header.target;
    return { ...header, name, target, sizeBytes: this.#number('size', name) ?? header.sizeBytes };
  }

  /** Of a pax record; an empty one says nothing. Bytes in a string. */
  value(key: string): string | undefined {
    return this.#pax.get(key)?.toString('latin1') || undefined;
  }

  get hasSparseRecords(): boolean {
    return [...this.#pax.keys()].some((key) => key.startsWith('GNU.sparse.'));
  }

  #number(key: string, entry: string): number | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    const number = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
    if (!Number.isSafeInteger(number))
      throw invalidBackup('damaged', `the tar has a ${key} that is no number`, { entry });
    return number;
  }
}

/** Comments, and owners or times of all entries, are fine; these would make all of them one file, or be read in different ways. */
function checkGlobals(records: ReadonlyMap<string, Buffer>): void {
  for (const key of records.keys()) {
    if (['path', 'linkpath', 'size'].includes(key) || key.startsWith('GNU.sparse.'))
      throw invalidBackup('refused', `the tar says ${key} of all its entries at once`);
  }
}

function readRecords(body: Buffer): ReadonlyMap<string, Buffer> {
  try {
    return readPax(body);
  } catch (error) {
    if (!isAlcoveError(error, 'ImageInvalid')) throw error;
    throw invalidBackup('damaged', 'the tar has a malformed pax header', { cause: error });
  }
}
