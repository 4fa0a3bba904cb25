import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { GuestChannel } from '../../guest/index.ts';
import type { Clock } from '../../host/index.ts';
import { fileDigestSchema } from '../../store/index.ts';
import type { Spare, SpareKey, SpareRequest } from '../../vm/backend.ts';
import type { Machine } from './machine.ts';
import { readRunRecord } from './run-record.ts';
import { tidy } from './sweep.ts';
import type { MachinePlaces } from './vm-places.ts';

const recordSchema = z.object({
  version: z.literal(1),
  key: z.string(),
  kind: z.enum(['shape', 'image', 'memory']),
  cpus: z.number().int(),
  memoryMiB: z.number().int(),
  /** What its RAM is mapped from, lowest first; the files lie beside this one. */
  layers: z.array(fileDigestSchema),
  facts: z.record(z.string(), z.string()),
  /** Of the guest that it has set up. */
  mac: z.string().nullable(),
});

/** What a spare is: `spare.json` in its directory, written when it is whole. Means nothing after a host boot: not synced. */
export type SpareRecord = Readonly<z.infer<typeof recordSchema>>;

export const spareRecordFile = 'spare.json';
/** In a spare's directory: its disk, when it has one of its own, and the layers of its memory. */
export const spareDiskDir = 'disk';
export const spareMemoryDir = 'memory';

/** Of the layer that a spare's disk writes: a VM that takes it over has had no such file before. */
export const spareTop = 2;

export function readSpareRecord(dir: string): SpareRecord | undefined {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(join(dir, spareRecordFile), 'utf8')));
  } catch {
    return undefined; // It did not become whole.
  }
}

/** A machine that waits to be taken over. */
export class QemuSpare implements Spare {
  readonly id: string;
  readonly record: SpareRecord;
  readonly machine: Machine;
  readonly ended: Promise<string>;
  readonly #clock: Clock;
  #channel: GuestChannel | undefined;
  #state: 'waiting' | 'taken' | 'gone' = 'waiting';

  /** @param channel open since it was made; there is none after a restart of the engine */
  constructor(
    id: string,
    record: SpareRecord,
    machine: Machine,
    channel: GuestChannel | undefined,
    clock: Clock,
  ) {
    this.id = id;
    this.record = record;
    this.machine = machine;
    this.#channel = channel;
    this.#clock = clock;
    const ended = Promise.withResolvers<string>();
    this.ended = ended.promise;
    void machine.ended.then((reason) => {
      if (this.#state === 'waiting') ended.resolve(reason);
    });
  }

  get dir(): string {
    return this.machine.places.dir;
  }

  get key(): SpareKey {
    return this.record.key as SpareKey;
  }

  get kind(): SpareRequest['kind'] {
    return this.record.kind;
  }

  get shape(): { cpus: number; memoryMiB: number } {
    const { cpus, memoryMiB } = this.record;
    return { cpus, memoryMiB };
  }

  get places(): MachinePlaces {
    return this.machine.places;
  }

  /** Makes it the caller's, whatever comes of that. */
  take(): GuestChannel | undefined {
    this.#state = 'taken';
    const channel = this.#channel;
    this.#channel = undefined;
    return channel;
  }

  async dispose(): Promise<void> {
    if (this.#state !== 'waiting') return;
    this.#state = 'gone';
    await this.#channel?.[Symbol.asyncDispose]();
    const cgroups = readRunRecord(this.places.runPath)?.cgroups ?? [];
    await this.machine.finish('kill');
    await tidy(this.places, cgroups, this.#clock);
  }

  async release(): Promise<void> {
    if (this.#state !== 'waiting') return;
    this.#state = 'gone';
    await this.#channel?.[Symbol.asyncDispose]();
    await this.machine.release();
  }
}
