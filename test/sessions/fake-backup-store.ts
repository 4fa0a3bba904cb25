import { createHash } from 'node:crypto';
import { extract } from 'tar-stream';
import { AlcoveError, cancelled } from '../../src/errors.ts';
import type { Clock } from '../../src/host/index.ts';
import type { BackupInfo } from '../../src/sessions/backup/backup-info.ts';
import type { BackupSource, BackupStore, VerifiedArchive } from '../../src/sessions/backup/backup-store.ts';
import type { CallOptions } from '../../src/vm/index.ts';
import type { Life } from './life.ts';

interface Kept {
  info: BackupInfo;
  tar: Buffer;
}

/** Directory of backups in memory. It outlives engines; each has a store over it. */
export class BackupPlace {
  readonly kept: Kept[] = [];
  /** What was recorded of each write that was begun, in order. */
  readonly writes: string[] = [];
  /** The next writes fail with these. */
  readonly failures: Error[] = [];
  readonly sweepFailures: Error[] = [];
  /** Called when one was looked for, before the answer is told. */
  onFound: (() => void) | undefined;
  /** Whether it can be reached at all. */
  state: 'mounted' | 'gone' = 'mounted';
  readonly #clock: Clock;
  #gate: { reached: () => void; open: Promise<void> } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Lets the next write stop when all is read and nothing is there yet. */
  hold(): { reached: Promise<void>; release(): void } {
    const reached = Promise.withResolvers<void>();
    const open = Promise.withResolvers<void>();
    this.#gate = { reached: reached.resolve, open: open.promise };
    return { reached: reached.promise, release: open.resolve };
  }

  /** A file of a backup's workdir, by its path in there; `undefined` when it has none. */
  async read(name: string, path: string): Promise<string | undefined> {
    const entries = extract();
    entries.end(this.find(name)?.tar ?? Buffer.alloc(1024));
    let found: string | undefined;
    for await (const entry of entries) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of entry) chunks.push(chunk as Uint8Array);
      if (entry.header.name.replace(/^\.\//, '') === path) found = Buffer.concat(chunks).toString();
    }
    return found;
  }

  find(name: string): Kept | undefined {
    return this.kept.find(({ info }) => info.name === name);
  }

  /** The newest of a session, as its store lists them. */
  newest(sessionId: string): Kept | undefined {
    return [...this.kept]
      .reverse()
      .filter(({ info }) => info.sessionId === sessionId)
      .sort((a, b) => b.info.createdAtMs - a.info.createdAtMs)[0];
  }

  drop(name: string): void {
    const at = this.kept.findIndex(({ info }) => info.name === name);
    if (at >= 0) this.kept.splice(at, 1);
  }

  /** @param life of the engine that has it */
  store(life: Life): BackupStore {
    const destination = '/backups';
    const reach = () => {
      if (this.state === 'gone') throw new AlcoveError('BackupFailed', `cannot read ${destination}`);
    };
    const list = (sessionId: string | undefined) =>
      [...this.kept]
        .reverse()
        .map(({ info }) => info)
        .filter((info) => sessionId === undefined || info.sessionId === sessionId)
        .sort((a, b) => b.createdAtMs - a.createdAtMs);
    const remove = (name: string) => {
      if (!this.find(name)) throw notFound(name);
      this.drop(name);
    };
    return {
      destination,
      list: async ({ sessionId } = {}) => {
        reach();
        return list(sessionId);
      },
      find: async (name) => {
        reach();
        const found = this.find(name)?.info;
        this.onFound?.();
        return found;
      },
      write: (source, options = {}) => this.#write(destination, source, options, life),
      verify: async (from) => {
        reach();
        const kept = this.find(from) ?? this.kept.find(({ info }) => info.path === from);
        if (!kept) throw notFound(from);
        return verified(kept);
      },
      remove: async (name) => {
        reach();
        remove(name);
      },
      sweep: async () => {
        const failure = this.sweepFailures.shift();
        if (failure) throw failure;
      },
    };
  }

  async #write(
    destination: string,
    { sessionId, tar, facts }: BackupSource,
    { signal }: CallOptions,
    life: Life,
  ): Promise<BackupInfo> {
    const gate = this.#gate;
    this.#gate = undefined;
    const failure = this.failures.shift() ?? (this.state === 'gone' ? new Error('not mounted') : undefined);
    this.writes.push(sessionId);
    const chunks: Uint8Array[] = [];
    for await (const chunk of tar) chunks.push(Uint8Array.from(chunk));
    gate?.reached();
    const aborted = new Promise((resolve) => signal?.addEventListener('abort', resolve, { once: true }));
    if (gate && !signal?.aborted) await Promise.race([gate.open, aborted]);
    if (signal?.aborted) throw cancelled(`the backup of ${sessionId}`, signal);
    if (life.isOver || failure) throw failure ?? new Error('a dead engine writes nothing');
    const content = Buffer.concat(chunks);
    const createdAtMs = this.#clock.now();
    const name = this.#name(sessionId, createdAtMs);
    const digest = digestOf(content);
    const info: BackupInfo = {
      name,
      path: `${destination}/${name}`,
      sessionId,
      createdAtMs,
      fileBytes: content.length,
      manifest: {
        format: 1,
        sessionId,
        createdAtMs,
        digest,
        fileBytes: content.length,
        tarBytes: content.length,
        contentBytes: content.length,
        entries: { files: 0, directories: 0, symlinks: 0, hardLinks: 0, others: 0 },
        ...facts,
      },
    };
    this.kept.push({ info, tar: content });
    return info;
  }

  #name(sessionId: string, atMs: number): string {
    const stamp = `${new Date(atMs).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
    for (let number = 1; ; number++) {
      const name = `${sessionId}-${stamp}${number > 1 ? `-${number}` : ''}.tar.zst`;
      if (!this.find(name)) return name;
    }
  }
}

function verified({ info, tar }: Kept): VerifiedArchive {
  const digest = digestOf(tar);
  if (digest !== info.manifest?.digest) {
    throw new AlcoveError('BackupInvalid', `${info.path} is not what was written`, {
      details: { problem: 'damaged' },
    });
  }
  return {
    info,
    path: info.path,
    digest,
    async *tar() {
      for (let at = 0; at < tar.length; at += 4096) yield tar.subarray(at, at + 4096);
    },
  };
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function notFound(name: string): AlcoveError<'BackupNotFound'> {
  return new AlcoveError('BackupNotFound', `backup ${name}: there is none`);
}
