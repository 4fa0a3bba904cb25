/** Everything that is measured, in the order of the table. */
import type { Case } from '../measure.ts';
import { coldStart } from './cold-start.ts';
import { exec } from './exec.ts';
import { newImage } from './new-image.ts';
import { restore } from './restore.ts';
import { snapshot } from './snapshot.ts';
import { stopStart } from './stop-start.ts';

export const cases: readonly Case[] = [coldStart, newImage, restore, stopStart, snapshot, exec];
