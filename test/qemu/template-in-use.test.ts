import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectGuest } from '../../src/guest/index.ts';
import type { VmBackend } from '../../src/vm/index.ts';
import { run, startRequest } from './in-guest.ts';
import { type MachineFixture, openMachineFixture } from './machine-fixture.ts';

/** As when `gc --all` comes while something is on its way. */
describe('a template that was given to somebody', () => {
  let fixture: MachineFixture;
  beforeAll(async () => {
    fixture = await openMachineFixture();
  });
  afterAll(() => {
    fixture?.expectNothingLeft();
    fixture?.close();
  });

  const templatesOf = async (backend: VmBackend) =>
    ((await backend.keepsakes?.list()) ?? []).filter(({ kind }) => kind === 'template');

  /** @returns what became of each template; a list of none when there is none */
  async function removeAll(
    backend: VmBackend,
  ): Promise<{ neededBy: string | undefined; removed: unknown }[]> {
    const found = await templatesOf(backend);
    return Promise.all(
      found.map(async ({ name, neededBy }) => ({
        neededBy,
        removed: await backend.keepsakes?.remove(name),
      })),
    );
  }

  const inUse = [{ neededBy: 'a start that is under way', removed: false }];

  test('to start from it stays until that has started, and can go then', async () => {
    const seen: unknown[] = [];
    const backend = fixture.backend({
      failpoint: async (name) => {
        if (name === 'template.committed' || name === 'start.placed') seen.push(await removeAll(backend));
      },
    });
    const vm = await backend.create(fixture.request('given'));
    await vm.start(startRequest());
    expect(seen).toEqual([inUse, inUse]);
    expect(await removeAll(backend)).toEqual([{ neededBy: undefined, removed: true }]);
    expect(await removeAll(backend)).toEqual([]);
    expect(await run(vm, 'echo works')).toBe('works\n');
    await vm.destroy();
  });

  test('to make a machine ahead of need from it stays until that waits', async () => {
    const seen: unknown[] = [];
    const backend = fixture.backend({
      connector: async (request) => {
        if (request.line === 'stale') seen.push(await removeAll(backend));
        return connectGuest(request);
      },
    });
    const dir = join(fixture.stateDir.root, 'spares/waiting');
    mkdirSync(dir, { recursive: true });
    const { shape } = fixture.request('unused');
    const spare = await backend.spares?.make({ id: 'waiting', dir, shape, kind: 'shape' });
    expect(seen).toEqual([inUse]);
    expect(await removeAll(backend)).toEqual([{ neededBy: undefined, removed: true }]);
    await spare?.dispose();
  });

  test('whose start failed can go', async () => {
    const backend = fixture.backend({
      failpoint: async (name) => {
        if (name === 'start.placed') throw new Error('failed');
      },
    });
    const vm = await backend.create(fixture.request('failing'));
    await expect(vm.start(startRequest())).rejects.toMatchObject({
      message: expect.stringMatching(/failed/),
    });
    expect(await removeAll(backend)).toEqual([{ neededBy: undefined, removed: true }]);
    await vm.destroy();
  });
});
