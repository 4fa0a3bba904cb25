import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileDurably } from '../../store/index.ts';
import type {
  BackendCallOptions,
  BackendVm,
  Spare,
  SpareKey,
  SpareMaker,
  SpareRequest,
} from '../../vm/backend.ts';
import { MemoryVm, type VmHost } from './memory-vm.ts';
import { keyOf } from './spare-keys.ts';
import { loadSnapshot } from './stored-machine.ts';

/** What lies in a spare's directory when it is whole. */
type StoredSpare = Pick<Spare, 'id' | 'key' | 'kind' | 'shape'>;

const spareFile = 'spare.json';

/** Machines that do nothing but wait. A start that is given one that does not fit, or is not there any more, fails. */
export class MemorySpares implements SpareMaker {
  readonly #host: VmHost;
  readonly #spares = new Set<MemorySpare>();

  constructor(host: VmHost) {
    this.#host = host;
  }

  async make(request: SpareRequest, options?: BackendCallOptions): Promise<Spare> {
    const { id, dir, kind, shape } = request;
    const { world } = this.#host;
    this.#host.log(id, 'make-spare', kind);
    await this.#host.pass('make-spare.begin', id, options);
    if (kind === 'memory') await this.#host.onDisk(loadSnapshot(request.snapshot));
    world.spares.set(dir, { id, taken: false, onDeath: new Set() });
    try {
      await this.#host.pass('make-spare.middle', id, options);
      const { cpus, memoryMiB } = shape;
      const stored: StoredSpare = { id, key: keyOf(request), kind, shape: { cpus, memoryMiB } };
      await this.#host.onDisk(writeFileDurably(join(dir, spareFile), JSON.stringify(stored)));
      await this.#host.pass('make-spare.end', id, options);
      return this.#open(dir, stored);
    } catch (error) {
      world.spares.delete(dir);
      throw error;
    }
  }

  async recover({ id, dir }: { id: string; dir: string }): Promise<Spare | undefined> {
    const { world } = this.#host;
    this.#host.log(id, 'recover-spare');
    await this.#host.pass('recover-spare.begin', id, undefined);
    await this.#host.pass('recover-spare.middle', id, undefined);
    const stored = readSpare(dir);
    const whole = stored !== undefined && world.spares.get(dir)?.taken === false;
    if (!whole) world.spares.delete(dir);
    await this.#host.pass('recover-spare.end', id, undefined);
    return whole ? this.#open(dir, stored) : undefined;
  }

  keysFor(vm: BackendVm): readonly SpareKey[] {
    return vm instanceof MemoryVm ? vm.spareKeys : [];
  }

  /** Lets go of all of them, as an engine that is killed does. */
  letGo(): void {
    for (const spare of this.#spares) spare.letGo();
    this.#spares.clear();
  }

  #open(dir: string, stored: StoredSpare): MemorySpare {
    const spare = new MemorySpare(this.#host, dir, stored);
    this.#spares.add(spare);
    return spare;
  }
}

class MemorySpare implements Spare {
  readonly id: string;
  readonly dir: string;
  readonly key: SpareKey;
  readonly kind: Spare['kind'];
  readonly shape: Spare['shape'];
  readonly ended: Promise<string>;
  readonly letGo: () => void;
  readonly #host: VmHost;

  constructor(host: VmHost, dir: string, { id, key, kind, shape }: StoredSpare) {
    this.#host = host;
    this.id = id;
    this.dir = dir;
    this.key = key;
    this.kind = kind;
    this.shape = shape;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.ended = promise;
    const machine = host.world.spares.get(dir);
    machine?.onDeath.add(resolve);
    this.letGo = () => machine?.onDeath.delete(resolve);
  }

  async dispose(): Promise<void> {
    this.#host.log(this.id, 'dispose-spare');
    await this.#host.pass('dispose-spare.begin', this.id, undefined);
    this.letGo();
    if (this.#host.world.spares.get(this.dir)?.taken === false) this.#host.world.spares.delete(this.dir);
    await this.#host.pass('dispose-spare.middle', this.id, undefined);
    await this.#host.pass('dispose-spare.end', this.id, undefined);
  }

  async release(): Promise<void> {
    this.#host.log(this.id, 'release-spare');
    this.letGo();
  }
}

function readSpare(dir: string): StoredSpare | undefined {
  try {
    return JSON.parse(readFileSync(join(dir, spareFile), 'utf8')) as StoredSpare;
  } catch {
    return undefined; // It was not finished, or is gone.
  }
}
