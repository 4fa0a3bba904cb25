import { AlcoveError } from '../../errors.ts';
import { displayName, type TarEntry } from '../tar/tar-entry.ts';
import { readTar } from '../tar/tar-reader.ts';
import { entryPath } from './entry-path.ts';
import { FileTree } from './file-tree.ts';
import { keptAttributes } from './kept-attributes.ts';
import { type Layer, layerTar } from './layer.ts';

/** What reading an image's layers once gives: the merged tree, and each layer as it must read the second time. */
export interface ReadLayers {
  tree: FileTree;
  layers: readonly Layer[];
}

const whiteoutPrefix = '.wh.';
const opaque = '.wh..opq';

/**
 * Applies layers from the lowest up, reading names and attributes only (OCI image specification, "Applying changesets").
 *
 * @throws AlcoveError `ImageInvalid`
 */
export async function readLayers(layers: readonly Layer[], signal: AbortSignal): Promise<ReadLayers> {
  const tree = new FileTree();
  const read: Layer[] = [];
  for (const [number, layer] of layers.entries()) {
    let diffId: string | undefined;
    const tar = layerTar(layer, signal, (found) => {
      diffId = found;
    });
    const endMark = layer.diffId === undefined ? 'required' : 'optional';
    let count = 0;
    for await (const { entry } of readTar(tar, { endMark })) {
      applyEntry(tree, entry, { layer: number, entry: count++ }, layer.whiteouts);
    }
    if (diffId === undefined) throw new AlcoveError('Internal', `${layer.name} was not read to its end`);
    read.push({ ...layer, diffId });
  }
  return { tree, layers: read };
}

function applyEntry(
  tree: FileTree,
  entry: TarEntry,
  origin: { layer: number; entry: number },
  whiteouts: Layer['whiteouts'],
): void {
  const path = entryPath(entry.name);
  const { layer } = origin;
  const name = path.at(-1) ?? '';
  if (whiteouts === 'apply' && name.startsWith(whiteoutPrefix)) {
    applyWhiteout(tree, path.slice(0, -1), name.slice(whiteoutPrefix.length), layer);
    return;
  }
  // Bookkeeping of AUFS, which older Docker left in layers.
  if (whiteouts === 'apply' && path.some((part) => part.startsWith('.wh..wh.'))) return;
  const { name: _, attributes: stated, ...kind } = entry;
  const attributes = keptAttributes(stated);
  if (kind.kind === 'directory') tree.putDirectory(path, attributes, layer);
  else if (kind.kind === 'hard-link') tree.link(path, entryPath(kind.target), layer);
  else tree.putFile(path, { attributes, kind, origin }, layer);
}

/** @param what what stands after `.wh.` in the name */
function applyWhiteout(tree: FileTree, parent: readonly string[], what: string, layer: number): void {
  if (what === opaque) tree.makeOpaque(parent, layer);
  else if (what === '' || what === '.' || what === '..') {
    throw new AlcoveError(
      'ImageInvalid',
      `a whiteout of nothing, ${displayName(`${whiteoutPrefix}${what}`)}`,
    );
  } else if (!what.startsWith(whiteoutPrefix)) tree.whiteOut([...parent, what], layer);
}
