import { createHash, randomBytes } from 'node:crypto';
import { renameSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { Holds, SingleFlight } from '../../host/index.ts';
import {
  digestFile,
  type FileDigest,
  fileDigestSchema,
  isSealed,
  renameDurably,
  type Seal,
  sealOfFile,
  sealSchema,
  storageError,
  syncPath,
  writeFileDurably,
} from '../../store/index.ts';
import type { BackendCallOptions, Keepsake, MachineShape } from '../../vm/backend.ts';
import { ConsoleLog } from './console-log.ts';
import type { QemuContext } from './context.ts';
import { keepDeviceState, makeStateFile, saveDeviceState, stateFile } from './device-state.ts';
import type { Failpoint } from './failpoints.ts';
import { attempt } from './machine-attempt.ts';
import { machineFacts } from './machine-facts.ts';
import { pagesOfFile, writeMemoryLayer } from './memory/index.ts';
import { type KeptMemory, pagesFile } from './memory-files.ts';
import { MiB } from './sizes.ts';
import { makeMachineDir } from './spawn-qemu.ts';
import { machineIn, sweep } from './sweep.ts';
import { machinePlaces } from './vm-places.ts';

const manifestSchema = z.object({
  version: z.literal(1),
  facts: z.record(z.string(), z.string()),
  /** Release of the kernel, for people. */
  release: z.string(),
  pages: fileDigestSchema,
  device: fileDigestSchema,
  seals: z.object({ pages: sealSchema, device: sealSchema }),
});
type TemplateManifest = z.infer<typeof manifestSchema>;

const manifestFile = 'template.json';
const makingPrefix = 'making_';

/** A template in use: it is not removed until this is disposed of. */
export interface HeldTemplate extends Disposable {
  readonly memory: KeptMemory;
}

/**
 * Machines that were booted once, up to an agent that waits with no root mounted, and suspended. Every VM of the same
 * {@link machineFacts facts} starts as a copy of one, whatever its image: a boot takes seconds under software emulation, a copy
 * tens of ms. Any fact that changes makes another template; one that no start is using at the moment may go at any time, since
 * what was started from it has its own names for the files.
 */
export class Templates {
  readonly #dir: string;
  readonly #context: () => QemuContext;
  readonly #at: Failpoint;
  readonly #flights = new SingleFlight<KeptMemory>();
  readonly #holds = new Holds();

  constructor(dir: string, context: () => QemuContext, at: Failpoint) {
    this.#dir = dir;
    this.#context = context;
    this.#at = at;
  }

  /**
   * The template of a shape, made when there is none, for as long as it takes to link its files.
   *
   * @throws AlcoveError `VmFailed`, `StateUnusable`, `BackendUnavailable`, `Cancelled`
   */
  async hold(shape: MachineShape, options: BackendCallOptions = {}): Promise<HeldTemplate> {
    const context = this.#context();
    const [host, { accelerator }] = await Promise.all([context.host(options), context.accelerator(shape)]);
    const facts = machineFacts(shape, accelerator, host.qemu);
    const key = keyOf(facts);
    const held = this.#holds.hold(key); // From before it is there, so that nobody removes it between then and now.
    try {
      return { memory: await this.#get(key, shape, facts, options), ...held };
    } catch (error) {
      held[Symbol.dispose]();
      throw error;
    }
  }

  #get(
    key: string,
    shape: MachineShape,
    facts: Record<string, string>,
    options: BackendCallOptions,
  ): Promise<KeptMemory> {
    const { signal, onProgress } = options;
    return this.#flights.run(
      `the template ${key}`,
      {
        ...(signal && { signal }),
        ...(onProgress && { onProgress: ({ step }: { step: string }) => onProgress(step) }),
      },
      async (flight) =>
        (await this.#find(key, facts)) ??
        this.#make(shape, key, facts, { signal: flight.signal, onProgress: flight.report }),
    );
  }

  /** Ends what an engine that died was making. */
  async sweep(): Promise<string[]> {
    const { clock, stateDir } = this.#context();
    const mended: string[] = [];
    for (const name of await namesIn(this.#dir)) {
      if (!name.startsWith(makingPrefix)) continue;
      const dir = join(this.#dir, name);
      await sweep(machineIn(stateDir, join(dir, 'machine'), name), clock);
      await rm(dir, { recursive: true, force: true });
      mended.push('removed a template that was not finished');
    }
    return mended;
  }

  async list(): Promise<Keepsake[]> {
    const found: Keepsake[] = [];
    for (const name of await namesIn(this.#dir)) {
      const dir = join(this.#dir, name);
      const manifest = await readManifest(dir);
      if (!manifest) continue;
      const { mtimeMs } = await stat(join(dir, manifestFile));
      const { accelerator, cpus, memoryMiB, network } = manifest.facts;
      found.push({
        name: `template-${name}`,
        kind: 'template',
        of: `${cpus} CPU, ${memoryMiB} MiB, network ${network}, kernel ${manifest.release}, ${accelerator}`,
        paths: [join(dir, manifestFile), join(dir, pagesFile(0)), join(dir, stateFile)],
        lastUsedMs: mtimeMs,
        neededBy: this.#holds.has(name) ? 'a start that is under way' : undefined,
      });
    }
    return found;
  }

  /** `false` when a start is using it; `true` when it is gone, also when it was before. */
  async remove(name: string): Promise<boolean> {
    const key = name.replace(/^template-/, '');
    if (!/^[0-9a-f]{32}$/.test(key)) return false;
    // In one go: between looking and removing nobody can come to hold it. What a crash leaves is swept with what is half-made.
    if (this.#holds.has(key)) return false;
    const away = join(this.#dir, this.#halfMade());
    try {
      renameSync(join(this.#dir, key), away);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
      throw storageError(away, error);
    }
    await rm(away, { recursive: true, force: true });
    return true;
  }

  /** A name that no template has. */
  #halfMade(): string {
    return `${makingPrefix}${randomBytes(8).toString('hex')}`;
  }

  async #find(key: string, facts: Record<string, string>): Promise<KeptMemory | undefined> {
    const dir = join(this.#dir, key);
    const manifest = await readManifest(dir);
    const template = manifest && { ...memoryOf(dir, manifest) };
    if (manifest && template && sameFacts(manifest.facts, facts) && (await isWhole(dir, manifest))) {
      const now = new Date(this.#context().clock.now());
      await utimes(join(dir, manifestFile), now, now); // When it was last of use.
      return template;
    }
    await rm(dir, { recursive: true, force: true });
    return undefined;
  }

  async #make(
    shape: MachineShape,
    key: string,
    facts: Record<string, string>,
    options: BackendCallOptions,
  ): Promise<KeptMemory> {
    const dir = join(this.#dir, this.#halfMade());
    options.onProgress?.('booting a machine of this shape, this once');
    try {
      await mkdir(dir, { mode: 0o700 });
      await this.#at('template.directory');
      const pages = await this.#boot(shape, dir, options);
      await this.#at('template.booted');
      const manifest = await this.#seal(dir, shape, facts, pages);
      await this.#at('template.sealed');
      const to = join(this.#dir, key);
      await renameDurably(dir, to);
      await this.#at('template.committed');
      return memoryOf(to, manifest);
    } catch (error) {
      await rm(dir, { recursive: true, force: true });
      throw storageError(dir, error);
    }
  }

  /** Leaves the pages and the device state in `dir`, and no machine. @returns digest of the pages */
  async #boot(shape: MachineShape, dir: string, options: BackendCallOptions): Promise<FileDigest> {
    const context = this.#context();
    const { bootTimeoutMs: timeoutMs, clock, connector, stateDir, uids } = context;
    const [host, { accelerator }] = await Promise.all([context.host(options), context.accelerator(shape)]);
    const name = dir.slice(this.#dir.length + 1);
    const places = machinePlaces(stateDir, name, join(dir, 'machine'));
    const console = ConsoleLog.empty(join(dir, 'console.log'));
    const what = 'booting a machine to start others from';
    const uid = uids.take(host.uids, name);
    try {
      return await attempt({ what, places, console, clock, connector, timeoutMs }, options, async (a) => {
        makeMachineDir(places);
        await writeFile(places.ramPath, '', { mode: 0o600 });
        await truncate(places.ramPath, shape.memoryMiB * MiB);
        const machine = await a.spawn(host, {
          qemu: host.qemu,
          accelerator,
          places,
          shape,
          ram: 'shared',
          begin: 'boot',
          disk: undefined,
          dropTo: uid,
        });
        await this.#at('template.spawned');
        await machine.qmp.execute('cont');
        const guest = await a.connect('fresh');
        await guest[Symbol.asyncDispose]();
        await makeStateFile(places.jail, uid);
        await machine.qmp.execute('stop');
        await saveDeviceState(machine.qmp);
        await keepDeviceState(places.jail, join(dir, stateFile));
        await a.finish();
        await this.#at('template.saved');
        const ramBytes = shape.memoryMiB * MiB;
        const pages = await writeMemoryLayer(join(dir, pagesFile(0)), {
          ramBytes,
          pages: pagesOfFile(places.ramPath, ramBytes),
          signal: a.ending,
        });
        await sweep(places, clock);
        return pages;
      });
    } finally {
      uids.give(uid);
      await rm(console.path, { force: true });
    }
  }

  async #seal(
    dir: string,
    shape: MachineShape,
    facts: Record<string, string>,
    pages: FileDigest,
  ): Promise<TemplateManifest> {
    const device = join(dir, stateFile);
    const manifest: TemplateManifest = {
      version: 1,
      facts,
      release: shape.kernel.release,
      pages,
      device: await digestFile(device),
      seals: { pages: await sealOfFile(join(dir, pagesFile(0))), device: await sealOfFile(device) },
    };
    await writeFileDurably(join(dir, manifestFile), JSON.stringify(manifest));
    await syncPath(dir);
    return manifest;
  }
}

function keyOf(facts: Record<string, string>): string {
  return createHash('sha256')
    .update(JSON.stringify(Object.entries(facts).sort()))
    .digest('hex')
    .slice(0, 32);
}

function sameFacts(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  return keyOf({ ...a }) === keyOf({ ...b });
}

function memoryOf(dir: string, { pages, device, facts }: TemplateManifest): KeptMemory {
  return {
    layers: [{ path: join(dir, pagesFile(0)), digest: pages }],
    device: { path: join(dir, stateFile), digest: device },
    facts,
  };
}

/** Whether its files are the ones that were digested; those that may not be are digested again. */
async function isWhole(dir: string, { pages, device, seals }: TemplateManifest): Promise<boolean> {
  const same = async (name: string, digest: { sha256: string }, seal: Seal) => {
    try {
      const path = join(dir, name);
      return (await isSealed(path, seal)) || (await digestFile(path)).sha256 === digest.sha256;
    } catch {
      return false; // Gone, or not to be read.
    }
  };
  return (await same(pagesFile(0), pages, seals.pages)) && (await same(stateFile, device, seals.device));
}

async function readManifest(dir: string): Promise<TemplateManifest | undefined> {
  try {
    return manifestSchema.parse(JSON.parse(await readFile(join(dir, manifestFile), 'utf8')));
  } catch {
    return undefined; // Not a template, or of another version: made anew.
  }
}

async function namesIn(dir: string): Promise<string[]> {
  return (await readdir(dir, { withFileTypes: true })).flatMap((entry) =>
    entry.isDirectory() ? [entry.name] : [],
  );
}
