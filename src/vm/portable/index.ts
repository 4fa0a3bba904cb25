/**
 * Snapshots as files for elsewhere. An archive is a tar, compressed with zstd: an index (`alcove-snapshot.json`), the files of the
 * snapshot and of the ancestors it builds on, its image, kernel and initramfs, and a checksum of all that. One of a set has each file
 * once, by digest, and right after the index what its exporter attached.
 */
export { zstdCompressed } from './compress.ts';
export { type ExportSetOptions, exportSet, type SetPart } from './export-set.ts';
export { exportSnapshot } from './export-snapshot.ts';
export type { ImportedSnapshots, Naming } from './import-plan.ts';
export { type ImportSetOptions, importSet, type OfferedSnapshot, type SetOffer } from './import-set.ts';
export { type ImportOptions, importSnapshot } from './import-snapshot.ts';
export { finishImports } from './undo-import.ts';
export { untilAborted } from './until-aborted.ts';
