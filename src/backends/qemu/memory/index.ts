/**
 * Memory of machines, kept as *memory layers*: files of those pages that differ from the layers below (`layer-format.ts`). What
 * a machine changed since it was started is found with the kernel's help (`changed-pages.ts`); a stack of layers is made into one flat
 * *memory image* (`memory-image.ts`), which QEMU maps privately. docs/decisions/0007-memory-layers.md says why.
 */
export { CapturedPages } from './captured-pages.ts';
export { prepareCapture } from './changed-pages.ts';
export { differingFrom } from './differing-pages.ts';
export { pagesOfFile } from './file-pages.ts';
export { type MemoryImage, type MemoryImageRequest, MemoryImages } from './memory-image.ts';
export { MemoryLayer, openLayers } from './memory-layer.ts';
export { maxMemoryLayers, mergeFrom, mergeLayers } from './merge-layers.ts';
export { type PageRun, type PageRuns, pageBytes } from './page-run.ts';
export { writeMemoryLayer } from './write-memory-layer.ts';
