import { mkdtemp, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SingleFlight } from '../../host/index.ts';
import { renameDurably, type StateDir, storageError, syncPath } from '../../store/index.ts';

/**
 * Files that are made once per state directory and then only read, by all who link them. Their names tell how they were made: another
 * recipe makes another file, and what builds on the old one has its own name for it.
 */
export class MadeFiles {
  readonly #stateDir: Pick<StateDir, 'templatesDir' | 'tmpDir'>;
  readonly #flights = new SingleFlight<void>();

  constructor(stateDir: Pick<StateDir, 'templatesDir' | 'tmpDir'>) {
    this.#stateDir = stateDir;
  }

  /**
   * Path of the file of that name; calls at once share the making.
   *
   * @param make writes it into a directory that goes away afterwards, and returns its path
   * @throws AlcoveError `StateUnusable`, and what `make` throws
   */
  async get(name: string, make: (dir: string) => Promise<string>): Promise<string> {
    const path = join(this.#stateDir.templatesDir, name);
    if (!(await exists(path))) await this.#flights.run(`making ${name}`, {}, () => this.#make(path, make));
    return path;
  }

  async #make(path: string, make: (dir: string) => Promise<string>): Promise<void> {
    try {
      const dir = await mkdtemp(join(this.#stateDir.tmpDir, 'made-'));
      try {
        const made = await make(dir);
        await syncPath(made);
        await renameDurably(made, path);
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    } catch (error) {
      throw storageError(path, error);
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
