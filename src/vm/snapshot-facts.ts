import { createHash } from 'node:crypto';
import type { RuntimeContext } from './runtime-context.ts';
import type { SnapshotRecord } from './snapshot-records.ts';
import { lineOf } from './snapshot-source.ts';
import type { SnapshotFacts } from './vm.ts';

export function snapshotFacts(context: RuntimeContext, record: SnapshotRecord): SnapshotFacts {
  const { manifest, blueprint, labels } = record;
  const { imageConfig, shape, env } = blueprint;
  const { cpus, memoryMiB, diskMiB, network } = shape;
  return {
    get digest() {
      return contentDigest(lineOf(context, record));
    },
    imageDigest: manifest.imageDigest,
    backend: manifest.backend,
    kind: manifest.kind,
    labels,
    env: { ...imageConfig.env, ...env },
    ...(imageConfig.workdir && { workdir: imageConfig.workdir }),
    ...(imageConfig.user && { user: imageConfig.user }),
    machine: { cpus, memoryMiB, diskMiB, network },
  };
}

/** The same for the same bytes over the same image, whatever the snapshot is called and wherever it is. */
function contentDigest(line: readonly SnapshotRecord[]): string {
  const content = line.map(({ manifest: { imageDigest, files } }) => [
    imageDigest,
    ...Object.entries(files)
      .map(([name, { sha256 }]) => [name, sha256])
      .sort(),
  ]);
  const hash = createHash('sha256').update(JSON.stringify(['alcove-snapshot-content', ...content]));
  return `sha256:${hash.digest('hex')}`;
}
