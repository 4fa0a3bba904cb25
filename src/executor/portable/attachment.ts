import { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import type { SetOffer, SnapshotRef } from '../../vm/index.ts';
import type { StoredInputs } from '../keys/index.ts';
import { checkCacheKey } from '../registry/index.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const wholeBytes = z.int().min(0);
const key = z.string().refine((text) => {
  try {
    return checkCacheKey(text) === text;
  } catch {
    return false;
  }
}, 'is no key');
const snapshotRef = z.templateLiteral([z.string(), '/', z.string()]);

const entrySchema = z.strictObject({
  key,
  /** As it is called in the archive. */
  snapshot: snapshotRef,
  /** The key of the entry whose snapshot it was made from. */
  parent: key.exactOptional(),
  name: z.string().max(255).exactOptional(),
  sizeBytes: wholeBytes,
  createdAtMs: wholeBytes,
  durationMs: z.number().min(0),
  /** Digests of parts: the encoded output, and the inputs as JSON. */
  output: sha256,
  inputs: sha256.exactOptional(),
});

const attachmentSchema = z.strictObject({
  format: z.literal('alcove-cache'),
  version: z.literal(1),
  /** What the guests run on. */
  architecture: z.string().max(64),
  /** The least recently used first. */
  entries: z.array(entrySchema).max(10_000),
});

/** What an archive of a cache says of its entries. */
export type CacheAttachment = z.output<typeof attachmentSchema>;
export type PortableEntry = CacheAttachment['entries'][number];

const text = z.string();
const treeEntry = z.strictObject({
  path: text,
  kind: z.enum(['file', 'directory', 'symlink', 'fifo', 'device']),
  mode: z.int().min(0).max(0o7777),
  sha256: sha256.exactOptional(),
  sizeBytes: wholeBytes.exactOptional(),
  target: text.exactOptional(),
});
const inputsSchema = z.strictObject({
  values: z.record(text, z.union([z.strictObject({ text }), z.strictObject({ digest: text })])),
  trees: z.array(
    z.strictObject({ to: text, digest: text, entries: z.array(treeEntry), rules: text.exactOptional() }),
  ),
});

export function writeAttachment(attachment: CacheAttachment): Buffer {
  return Buffer.from(JSON.stringify(attachment));
}

/**
 * What an archive says of its entries. It says it of each of its snapshots once, and of nothing else.
 *
 * @throws AlcoveError `ArchiveInvalid`
 */
export function readAttachment({ attachment, snapshots }: SetOffer): CacheAttachment {
  const read = parse(attachmentSchema, attachment, 'the list of its entries');
  requireSame(
    'snapshots',
    snapshots.map(({ ref }) => ref),
    read.entries.map((entry) => entry.snapshot),
  );
  const entries = new Map(read.entries.map((entry) => [entry.key, entry]));
  if (entries.size !== read.entries.length) throw refused('it has two entries of one key');
  for (const entry of read.entries) requireDescent(entry, entries);
  return read;
}

/** @throws AlcoveError `ArchiveInvalid` */
export function readInputs(bytes: Uint8Array): StoredInputs {
  return parse(inputsSchema, bytes, 'the inputs of an entry');
}

function parse<Schema extends z.ZodType>(schema: Schema, bytes: Uint8Array, what: string): z.output<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw refused(`${what} is no JSON`, error);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw refused(`${what} is malformed: ${issue?.path.join('.')}: ${issue?.message}`, parsed.error);
}

function requireSame(what: string, offered: readonly SnapshotRef[], named: readonly SnapshotRef[]): void {
  const there = new Set(offered);
  if (
    new Set(named).size === named.length &&
    named.length === there.size &&
    named.every((ref) => there.has(ref))
  )
    return;
  throw refused(`its entries are of other ${what} than it holds`);
}

/** A circle of parents would keep all of them from ever being evicted. */
function requireDescent(entry: PortableEntry, entries: ReadonlyMap<string, PortableEntry>): void {
  let at: PortableEntry | undefined = entry;
  for (let steps = 0; at?.parent !== undefined; steps++) {
    if (steps > entries.size) throw refused(`the entry ${entry.key} descends from itself`);
    at = entries.get(at.parent);
    if (!at) throw refused(`an entry is said to be made from one that is not there`);
  }
}

export function refused(what: string, cause?: unknown): AlcoveError<'ArchiveInvalid'> {
  return new AlcoveError('ArchiveInvalid', `the archive is no cache that Alcove exported: ${what}`, {
    details: { problem: 'refused', member: 'attachment' },
    cause,
  });
}
