/** Everything that is measured, in the order of the table. */
import type { Case } from '../measure.ts';
import { cacheRegistry } from './cache-registry.ts';
import { exec } from './exec.ts';
import { hit, hitByCommandLine, miss } from './execute.ts';
import { forkHundred, forkTen } from './fork.ts';
import { injectLargeFile, injectSmallFiles } from './inject.ts';
import { newImage } from './new-image.ts';
import { cachedPipeline, examplePipelines } from './pipeline.ts';
import { restart } from './restart.ts';
import { restore } from './restore.ts';
import { backupOfTree, backupOfVolume } from './session-backup.ts';
import { activeSession, newSession, stoppedSession } from './sessions.ts';
import { sessionsInTurn } from './sessions-in-turn.ts';
import { snapshot } from './snapshot.ts';
import { coldStart, warmStart } from './start.ts';
import { stopStart } from './stop-start.ts';

export const cases: readonly Case[] = [
  warmStart,
  newImage,
  restore,
  stopStart,
  snapshot,
  forkTen,
  forkHundred,
  restart,
  coldStart,
  exec,
  activeSession,
  stoppedSession,
  newSession,
  sessionsInTurn,
  backupOfTree,
  backupOfVolume,
  hit,
  hitByCommandLine,
  miss,
  cacheRegistry,
  injectSmallFiles,
  injectLargeFile,
  cachedPipeline,
  examplePipelines,
];
