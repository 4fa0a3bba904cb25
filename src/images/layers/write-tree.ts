import { AlcoveError } from '../../errors.ts';
import { withHoles } from '../tar/sparse.ts';
import { readTar } from '../tar/tar-reader.ts';
import { endOfTar, paddingAfter, writeTarHeader } from '../tar/tar-writer.ts';
import type { Directory, Inode } from './file-tree.ts';
import { layerTar } from './layer.ts';
import type { ReadLayers } from './read-layers.ts';

/**
 * Writes the merged tree as one tar, by reading the layers a second time: directories and everything without content
 * first, in the order of their names, then content in the order of the layers. The root itself is not among the entries.
 * The same layers always give the same bytes.
 *
 * @throws AlcoveError `ImageInvalid` when a layer is no longer what it was
 */
export async function* writeTree({ tree, layers }: ReadLayers, signal: AbortSignal): AsyncGenerator<Buffer> {
  const names = new Map<Inode, string[]>();
  yield* skeleton(tree.root, names);
  checkHoles(names.keys());
  const wanted = layers.map(() => new Map<number, { inode: Inode; names: string[] }>());
  for (const [inode, paths] of names) {
    wanted[inode.origin.layer]?.set(inode.origin.entry, { inode, names: paths });
  }
  for (const [number, layer] of layers.entries()) {
    const files = wanted[number];
    if (!files || files.size === 0) continue;
    let count = 0;
    for await (const { entry, content } of readTar(layerTar(layer, signal), { endMark: 'optional' })) {
      const file = files.get(count++);
      if (!file) continue;
      const [first, ...others] = file.names;
      if (entry.kind !== 'file' || first === undefined) throw changed(layer.name);
      const { attributes } = file.inode;
      const { sizeBytes, sparse } = entry;
      yield writeTarHeader({ name: first, attributes, kind: 'file', sizeBytes });
      yield* sparse ? withHoles(content(), sparse, sizeBytes) : content();
      yield paddingAfter(sizeBytes);
      for (const name of others) {
        yield writeTarHeader({ name, attributes, kind: 'hard-link', target: first });
      }
      files.delete(count - 1);
    }
    if (files.size > 0) throw changed(layer.name);
  }
  yield endOfTar;
}

/** Headers of what has no content; collects the names of what has. */
function* skeleton(root: Directory, contentNames: Map<Inode, string[]>): Generator<Buffer> {
  const written = new Map<Inode, string>();
  const pending: { directory: Directory; prefix: string }[] = [{ directory: root, prefix: '' }];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { directory, prefix } = next;
    const below: typeof pending = [];
    for (const [name, node] of [...directory.children].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const path = `${prefix}${name}`;
      if (node.type === 'directory') {
        yield writeTarHeader({ name: path, attributes: node.attributes, kind: 'directory' });
        below.push({ directory: node, prefix: `${path}/` });
        continue;
      }
      const { inode } = node;
      const { attributes } = inode;
      const first = written.get(inode);
      if (hasContent(inode)) {
        const others = contentNames.get(inode);
        if (others) others.push(path);
        else contentNames.set(inode, [path]);
      } else if (first !== undefined) {
        yield writeTarHeader({ name: path, attributes, kind: 'hard-link', target: first });
      } else {
        written.set(inode, path);
        yield writeTarHeader({ name: path, attributes, ...inode.kind });
      }
    }
    pending.push(...below.reverse());
  }
}

function hasContent({ kind }: Inode): boolean {
  return kind.kind === 'file' && kind.sizeBytes > 0;
}

function changed(layer: string): AlcoveError<'ImageInvalid'> {
  return new AlcoveError('ImageInvalid', `${layer} changed while it was read`);
}

/** As zeros take time to write; of all files together, since a small archive can describe many. */
const maxHoleBytes = 256 * 2 ** 30;

function checkHoles(inodes: Iterable<Inode>): void {
  let total = 0;
  for (const { kind } of inodes) if (kind.kind === 'file' && kind.sparse) total += kind.sizeBytes;
  if (total > maxHoleBytes) {
    throw new AlcoveError('ImageInvalid', `the files with holes in the image are of ${total} bytes together`);
  }
}
