import type { Accelerator } from './accelerator.ts';

/**
 * The guest kernel's command line. Where an argument is about time, docs/decisions/0003-boot-time.md has the measurement.
 */
export function kernelArgs(accelerator: Accelerator, bootArgs: readonly string[]): string {
  return [
    'console=ttyS0',
    // Every line on the emulated serial port costs time; errors and panics still come.
    'quiet',
    'loglevel=3',
    'rdinit=/init',
    // A panic reboots at once, which QEMU turns into a stop that can be looked at.
    'panic=-1',
    // Pages are cleared when freed, not when taken: a fresh guest's RAM then stays mostly zero.
    'init_on_alloc=0',
    'init_on_free=1',
    // Nothing is there to be probed behind these.
    'i8042.noaux',
    'i8042.nokbd',
    'random.trust_cpu=on',
    ...(accelerator === 'tcg' ? tcgArgs : []),
    ...bootArgs,
  ].join(' ');
}

/** Under software emulation the timers are QEMU's own and agree; there is no speculation to mitigate either. */
const tcgArgs = ['tsc=reliable', 'no_timer_check', 'mitigations=off'];
