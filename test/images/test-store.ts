import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type ImageStore, openImageStore } from '../../src/images/index.ts';
import { Database, openStateDir, type StateDir } from '../../src/store/index.ts';

/** An image store over a state directory of its own. */
export interface TestStore {
  images: ImageStore;
  stateDir: StateDir;
  database: Database;
  /** What lies in the folders of images and of half-made files. */
  files(): string[];
  /** Lets go of the state directory; happens by itself at the end of the test. */
  close(): void;
}

/** A folder that is gone after the test. */
export function testFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'images-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** @param root a state directory; one of its own by default */
export function testStore(root = join(testFolder(), 'state')): TestStore {
  const stateDir = openStateDir({ root });
  const database = new Database(stateDir.databasePath);
  let open = true;
  const close = () => {
    if (!open) return;
    open = false;
    database.close();
    stateDir[Symbol.dispose]();
  };
  onTestFinished(close);
  let ms = 1_700_000_000_000;
  const clock = {
    now: () => ms++,
    monotonic: () => ms,
    sleep: () => Promise.reject(new Error('nothing here waits')),
    timer: () => () => undefined,
  };
  return {
    images: openImageStore({ stateDir, database, clock }),
    stateDir,
    database,
    files: () => [...readdirSync(stateDir.imagesDir), ...readdirSync(stateDir.tmpDir)],
    close,
  };
}
