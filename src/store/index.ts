/** What is durable: the state directory with its lock, the database, and files that are written whole or not at all. */
export { Database, type Durability } from './database.ts';
export { digestFile, type FileDigest, fileDigestSchema } from './digest-file.ts';
export { renameDurably, storageError, syncPath, writeFileDurably } from './durable.ts';
export { linkOrCopy } from './link-or-copy.ts';
export { isSealed, type Seal, sealHolds, sealOf, sealOfFile, sealSchema } from './seal.ts';
export {
  defaultStateDir,
  openStateDir,
  runtimeDirOf,
  type StateDir,
  type StateDirLayout,
  stateDirLayout,
} from './state-dir.ts';
