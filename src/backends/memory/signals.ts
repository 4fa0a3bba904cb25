import { constants } from 'node:os';
import { AlcoveError } from '../../errors.ts';

/** Name and number of a signal. @throws AlcoveError `InvalidInput` */
export function signalOf(signal: string | number): { name: string; number: number } {
  for (const [name, number] of Object.entries(constants.signals)) {
    if (signal === name || signal === number || `SIG${signal}` === name) return { name, number };
  }
  throw new AlcoveError('InvalidInput', `there is no signal ${signal}`, { details: { field: 'signal' } });
}
