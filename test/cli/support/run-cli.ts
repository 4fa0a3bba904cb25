import { expect, onTestFinished } from 'vitest';
import { main } from '../../../src/cli/cli.ts';
import type { Diagnose } from '../../../src/cli/commands/doctor.ts';
import { FakeAlcove } from './fake-alcove.ts';
import { FakeIo, type FakeIoOptions } from './fake-io.ts';

/** A CLI to drive, with everything around it faked. */
export interface TestCli {
  io: FakeIo;
  alcove: FakeAlcove;
  run(...argv: string[]): Promise<number>;
  /** What was written to standard output, parsed. */
  json(): unknown;
}

export function testCli(options: FakeIoOptions & { diagnose?: Diagnose } = {}): TestCli {
  const io = new FakeIo(options);
  const alcove = new FakeAlcove();
  const diagnose: Diagnose = options.diagnose ?? (async () => ({ usable: true, checks: [] }));
  onTestFinished(() => {
    expect(io.leftovers, 'listeners and timers left over').toBe(0);
  });
  return {
    io,
    alcove,
    run: (...argv) => main(argv, io, alcove.open, diagnose),
    json: () => JSON.parse(io.stdout.text),
  };
}
