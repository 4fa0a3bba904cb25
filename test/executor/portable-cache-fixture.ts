import { randomBytes } from 'node:crypto';
import { type CacheLimits, type Executor, openExecutor } from '../../src/executor/index.ts';
import type { SnapshotRef } from '../../src/vm/index.ts';
import { bytesOf, chunksOf, openElsewhere, openOrigin } from '../vm/portable-fixture.ts';
import type { openFixture, RuntimeFixture } from '../vm/runtime-fixture.ts';

const roomy: CacheLimits = { maxEntries: 64, maxBytes: 2 ** 40, reservedBytes: 0 };

interface CacheOptions {
  limits?: CacheLimits;
  platform?: { backend: string; architecture: string };
  vm?: Parameters<typeof openFixture>[0];
  /** What is run. @default base, build, test */
  steps?: readonly string[];
  /** Whether each starts from the one before, or all from the same snapshot. @default 'chain' */
  shape?: 'chain' | 'apart';
}

/** A state directory with real stores and an executor. */
export interface CacheFixture extends AsyncDisposable {
  readonly vm: RuntimeFixture;
  executor: Executor;
  mended: readonly string[];
  readonly warnings: string[];
  /** Opens another executor over the same directory, as after a crash. */
  open(): Promise<void>;
}

async function openCache(
  vm: RuntimeFixture,
  { limits = roomy, platform }: CacheOptions,
): Promise<CacheFixture> {
  const warnings: string[] = [];
  vm.backend.script(/^\w+ it$/, async (run) => {
    const [step] = run.line.split(' ');
    run.files.append('/root/note', ` ${step}`);
    await run.print(`${step} is done\n`);
    return 0;
  });
  const open = () =>
    openExecutor({
      runtime: vm.runtime,
      images: vm.realImages,
      database: vm.database,
      limits,
      platform: platform ?? { backend: 'memory', architecture: 'x86_64' },
      random: randomBytes,
      clock: vm.clock,
      warn: (message) => void warnings.push(message),
    });
  const fixture: CacheFixture = {
    vm,
    warnings,
    ...(await open()),
    async open() {
      Object.assign(fixture, await open());
    },
    async [Symbol.asyncDispose]() {
      await fixture.executor.close();
      await vm[Symbol.asyncDispose]();
    },
  };
  return fixture;
}

/** With nothing in it. */
export async function openEmptyCache(options: CacheOptions = {}): Promise<CacheFixture> {
  return openCache(await openElsewhere(options.vm), options);
}

/** With results, the first of which was made from a snapshot that a user took; `/root/note` says which were run. */
export async function openFullCache(options: CacheOptions = {}): Promise<CacheFixture> {
  const fixture = await openCache(await openOrigin(options.vm), options);
  let from: SnapshotRef = 'vm/s1';
  for (const key of options.steps ?? ['base', 'build', 'test']) {
    const made = await runStep(fixture, key, from);
    if (options.shape !== 'apart') from = made;
    await fixture.vm.clock.advance(1000);
  }
  return fixture;
}

/** Runs what a key stands for, unless it is cached. */
export async function runStep(
  { executor }: CacheFixture,
  key: string,
  from: SnapshotRef,
): Promise<SnapshotRef> {
  const action = { source: { snapshot: from }, command: `${key} it`, name: `the ${key}` };
  const { snapshot } = await executor.execute(action, { cache: key });
  await executor.settled();
  return snapshot ?? 'none/none';
}

export function exportAll({ executor }: CacheFixture, keys?: string[]): Promise<Buffer> {
  return bytesOf(executor.cache.export(keys ? { keys } : {}));
}

export function importAll({ executor }: CacheFixture, archive: Uint8Array, chunkBytes?: number) {
  return executor.cache.import(chunksOf(archive, chunkBytes));
}

/** Keys with their snapshots, in the order of their use. */
export async function entriesOf({ executor }: CacheFixture): Promise<[key: string, snapshot: SnapshotRef][]> {
  return (await executor.cache.list()).map(({ key, snapshot }) => [key, snapshot]);
}

/** What a machine made from a snapshot has in its note. */
export async function noteOf({ vm: { runtime } }: CacheFixture, ref: SnapshotRef): Promise<string> {
  const { id } = await runtime.restore(ref);
  await runtime.start(id);
  const { stdout } = await runtime.exec(id, { command: 'cat /root/note' });
  await runtime.destroy(id);
  return stdout;
}
