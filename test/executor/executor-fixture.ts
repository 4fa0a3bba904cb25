import { randomBytes } from 'node:crypto';
import {
  type CacheLimits,
  type Executor,
  type OpenExecutorOptions,
  openExecutor,
} from '../../src/executor/index.ts';
import type { VmRuntimeOptions } from '../../src/vm/index.ts';
import { openFixture, type RuntimeFixture } from '../vm/runtime-fixture.ts';

export const roomyCache: CacheLimits = { maxEntries: 64, maxBytes: 2 ** 40, reservedBytes: 0 };

type Options = Partial<Pick<OpenExecutorOptions, 'limits' | 'failpoint' | 'platform'>>;

/** A state directory with an executor on the memory backend, and the means to lose and reopen it. */
export interface ExecutorFixture extends AsyncDisposable {
  readonly vm: RuntimeFixture;
  executor: Executor;
  /** What the current one mended when it opened. */
  mended: readonly string[];
  readonly warnings: string[];
  /** Closes engine and executor and opens others over the same directory. */
  reopen(options?: Options): Promise<Executor>;
  /** As {@link reopen}, without a close: what the old ones have under way is frozen and never goes on. */
  crash(options?: Options): Promise<Executor>;
}

export async function openExecutorFixture(
  options: Options & { vm?: Partial<VmRuntimeOptions> } = {},
): Promise<ExecutorFixture> {
  const { vm: vmOptions, ...given } = options;
  const vm = await openFixture(vmOptions);
  const { warnings } = vm;
  const open = (more: Options) =>
    openExecutor({
      runtime: vm.runtime,
      images: vm.images,
      database: vm.database,
      limits: roomyCache,
      platform: { backend: 'memory', architecture: 'x86_64' },
      random: randomBytes,
      clock: vm.clock,
      warn: (message) => warnings.push(message),
      ...given,
      ...more,
    });
  const opened = await open({});
  const fixture: ExecutorFixture = {
    vm,
    ...opened,
    warnings,
    async reopen(more = {}) {
      await fixture.executor.close();
      await vm.reopen();
      Object.assign(fixture, await open(more));
      return fixture.executor;
    },
    async crash(more = {}) {
      await vm.crash();
      Object.assign(fixture, await open(more));
      return fixture.executor;
    },
    async [Symbol.asyncDispose]() {
      await fixture.executor.close();
      await vm[Symbol.asyncDispose]();
    },
  };
  return fixture;
}
