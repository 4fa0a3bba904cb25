/** The program `alcove`: {@link main} with the process it runs in. `bin/alcove.js` imports it. */

import { main } from './cli.ts';
import { exitCode } from './exit-code.ts';
import { printError, toAlcoveError } from './print-error.ts';
import { processIo } from './process-io.ts';
import { createStyle } from './style.ts';

const io = processIo();

// What nobody caught is a defect; it is said as every error is, and never leaves a stack trace on its own.
const crash = (error: unknown) => {
  printError(toAlcoveError(error), { io, globals: { format: 'people' }, style: createStyle('off') });
  process.exit(exitCode.failed);
};
process.on('uncaughtException', crash);
process.on('unhandledRejection', crash);

// A promise that nothing can settle any more would otherwise end the process as if all were well.
process.on('beforeExit', () => crash(new Error('it came to a halt before its end')));

// The engine is loaded by the first command that needs it: help and mistakes answer at once.
main(
  process.argv.slice(2),
  io,
  async (options) => (await import('../engine/open.ts')).openAlcove(options),
  async (options) => (await import('../engine/diagnose-this-host.ts')).diagnoseThisHost(options),
)
  // Standard input may still be open, and would keep the process.
  .then((code) => process.exit(code))
  .catch(crash);
