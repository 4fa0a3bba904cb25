import { constants } from 'node:os';
import { invalid } from './failures.ts';

/** Signal numbers by name; a guest runs the host's architecture, so they are the same on both sides. */
const numbers = new Map<string, number>(Object.entries(constants.signals));
const names = new Map<number, string>();
for (const [name, number] of numbers) if (!names.has(number)) names.set(number, name);

/** Highest signal number of Linux, signal(7). */
const highestSignal = 64;

/** The number of a signal given by name or number. @throws AlcoveError `InvalidInput` */
export function signalNumber(signal: string | number): number {
  const number = typeof signal === 'number' ? signal : numbers.get(signal);
  if (number !== undefined && Number.isInteger(number) && number >= 1 && number <= highestSignal)
    return number;
  throw invalid('signal', `is not one that Linux has: ${signal}`);
}

/** The name of a signal, e.g. `SIGKILL`; `SIG64` where it has none. */
export function signalName(number: number): string {
  return names.get(number) ?? `SIG${number}`;
}
