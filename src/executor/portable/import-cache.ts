import { AlcoveError } from '../../errors.ts';
import {
  generateId,
  type ImportedSnapshots,
  type Naming,
  type SetOffer,
  type SnapshotRef,
  snapshotRef,
} from '../../vm/index.ts';
import type { CacheCallOptions, CacheImportReport } from '../cache.ts';
import { cacheLabel, type ExecutorContext } from '../context.ts';
import type { NewEntry } from '../registry/index.ts';
import { releaseSnapshots } from '../release-snapshots.ts';
import { decodeRetained } from '../run/transcript.ts';
import {
  type CacheAttachment,
  type PortableEntry,
  readAttachment,
  readInputs,
  refused,
} from './attachment.ts';

/**
 * Takes in what `exportCache` gave: entries and snapshots come together, or nothing does. Of a key that is here, what is here stays.
 * Imported entries count as used now, in the order of their use where they come from; what is over the limits then goes, of what was here
 * first. Entries of another backend are skipped.
 *
 * Every byte is compared with what the archive says; who made the archive can have put anything under any key.
 *
 * @throws AlcoveError `ArchiveInvalid`; `SnapshotIncompatible` when nothing of it can run here; `StateUnusable`, `Cancelled`, and what
 * reading `archive` throws
 */
export async function importCache(
  context: ExecutorContext,
  archive: AsyncIterable<Uint8Array>,
  options: CacheCallOptions,
): Promise<CacheImportReport> {
  const { registry, runtime } = context;
  const taking = new CacheImport(context);
  await runtime.snapshots.importSet(archive, {
    ...options,
    accept: (offer) => taking.choose(offer),
    inTransaction: (imported) => taking.list(imported),
  });
  await releaseSnapshots(context, [...taking.gone]);
  const { added, kept, skipped } = taking;
  return {
    added: added.flatMap(({ key, snapshot }) => {
      const entry = registry.peek(key);
      return entry?.snapshot === snapshot ? [entry] : []; // One may have had to go for the next.
    }),
    kept: kept.filter((key) => registry.peek(key)),
    skipped: skipped.map(({ key, backend }) => ({ key, why: `it was made on the ${backend} backend` })),
  };
}

class CacheImport {
  /** Keys that are here. */
  readonly kept: string[] = [];
  /** Of other backends. */
  readonly skipped: { key: string; backend: string }[] = [];
  readonly added: { key: string; snapshot: SnapshotRef }[] = [];
  /** Snapshots that have no entry any more, or got none. */
  readonly gone = new Set<SnapshotRef>();
  readonly #context: ExecutorContext;
  readonly #chosen: { entry: PortableEntry; ref: SnapshotRef }[] = [];
  /** Entries whose snapshot is not there any more, by key. */
  readonly #stale = new Map<string, SnapshotRef>();

  constructor(context: ExecutorContext) {
    this.#context = context;
  }

  async choose(offer: SetOffer): Promise<Map<SnapshotRef, Naming>> {
    const { platform, random } = this.#context;
    const attachment = readAttachment(offer);
    if (attachment.architecture !== platform.architecture)
      throw incompatible('architecture', attachment.architecture, platform.architecture);
    const backends = new Map(offer.snapshots.map(({ ref, backend }) => [ref, backend]));
    for (const entry of attachment.entries) {
      const { key, snapshot } = entry;
      const backend = backends.get(snapshot) ?? '';
      if (backend !== platform.backend) this.skipped.push({ key, backend });
      else if (await this.#isHere(key)) this.kept.push(key);
      // Names are made here: an archive cannot choose any, nor clash with one.
      else this.#chosen.push({ entry, ref: snapshotRef(generateId('cache', random), 'result') });
    }
    this.#requireAny(attachment);
    return new Map(
      this.#chosen.map(({ entry: { key, snapshot }, ref }) => [
        snapshot,
        { as: ref, labels: { [cacheLabel]: key } },
      ]),
    );
  }

  /** Stores the entries, in the transaction that lists their snapshots. */
  list(imported: ImportedSnapshots): void {
    const { registry, clock } = this.#context;
    const nowMs = clock.now();
    const refs = new Map(this.#chosen.map(({ entry, ref }) => [entry.key, ref]));
    for (const { entry, ref } of this.#chosen) {
      const { key, snapshot } = entry;
      if (this.#hereNow(key) !== undefined) {
        this.kept.push(key);
        this.gone.add(ref);
        continue;
      }
      const parent = this.#parentOf(entry, refs);
      const diskBytes = imported.snapshots.get(snapshot)?.sizeBytes ?? 0;
      const lost = registry.put(newEntry(entry, { ref, parent, imported, diskBytes }), {
        nowMs,
        createdAtMs: Math.min(entry.createdAtMs, nowMs),
      });
      for (const one of lost) {
        this.gone.add(one);
        for (const [of, named] of refs) if (named === one) refs.delete(of);
      }
      this.added.push({ key, snapshot: ref });
    }
  }

  /** Whether a key has an entry whose snapshot is there; one whose snapshot is gone may be replaced. */
  async #isHere(key: string): Promise<boolean> {
    const { registry, runtime } = this.#context;
    const entry = registry.peek(key);
    if (!entry) return false;
    if (await runtime.snapshots.has(entry.snapshot)) return true;
    this.#stale.set(key, entry.snapshot);
    return false;
  }

  /** What is cached under a key now, and may not be replaced. */
  #hereNow(key: string): SnapshotRef | undefined {
    const snapshot = this.#context.registry.peek(key)?.snapshot;
    return snapshot === this.#stale.get(key) ? undefined : snapshot;
  }

  /** A key stands for what its action makes: where the parent's is here already, what is here is the parent. */
  #parentOf({ parent }: PortableEntry, refs: ReadonlyMap<string, SnapshotRef>): SnapshotRef | undefined {
    return parent === undefined ? undefined : (this.#hereNow(parent) ?? refs.get(parent));
  }

  #requireAny({ entries }: CacheAttachment): void {
    const [first] = this.skipped;
    if (!first || this.skipped.length < entries.length) return;
    throw incompatible('backend', first.backend, this.#context.platform.backend);
  }
}

/** What is kept of an entry once its bytes are known. @throws AlcoveError `ArchiveInvalid` */
function newEntry(
  { key, name, durationMs, sizeBytes, ...parts }: PortableEntry,
  { ref, parent, imported, diskBytes }: NewEntryFacts,
): NewEntry {
  const output = imported.part(parts.output);
  try {
    decodeRetained(output);
  } catch (error) {
    throw refused('the output of an entry cannot be read', error);
  }
  return {
    key,
    snapshot: ref,
    ...(parent !== undefined && { parent }),
    ...(name !== undefined && { name }),
    sizeBytes: Math.min(sizeBytes, diskBytes), // Or else it could claim the room of all others.
    durationMs,
    ...(parts.inputs !== undefined && { inputs: readInputs(imported.part(parts.inputs)) }),
    output,
  };
}

interface NewEntryFacts {
  ref: SnapshotRef;
  parent: SnapshotRef | undefined;
  imported: ImportedSnapshots;
  diskBytes: number;
}

function incompatible(fact: string, found: string, expected: string): AlcoveError {
  return new AlcoveError(
    'SnapshotIncompatible',
    `the archive was made with another ${fact}: ${found}, not ${expected}`,
    { details: { fact, expected, found }, remedy: 'Import it where the named fact is the same.' },
  );
}
