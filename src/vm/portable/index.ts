/**
 * Snapshots as files for elsewhere. An archive is a tar, compressed with zstd: an index (`alcove-snapshot.json`), the files of the
 * snapshot and of the ancestors it builds on, its image, kernel and initramfs, and a checksum of all that.
 */
export { exportSnapshot } from './export-snapshot.ts';
export { type ImportOptions, importSnapshot } from './import-snapshot.ts';
export { finishImports } from './place-import.ts';
