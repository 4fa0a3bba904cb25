import { mkdirSync } from 'node:fs';
import { stateDirLayout } from '../../src/store/index.ts';
import type { VmPlaces } from '../../src/vm/index.ts';

/** The directories of a state directory, made. */
export function makePlaces(root: string): VmPlaces {
  const { vmsDir, snapshotsDir, imagesDir, kernelsDir, templatesDir, sparesDir, tmpDir } =
    stateDirLayout(root);
  const places = { vmsDir, snapshotsDir, imagesDir, kernelsDir, templatesDir, sparesDir, tmpDir };
  for (const dir of Object.values(places)) mkdirSync(dir);
  return { root, ...places };
}
