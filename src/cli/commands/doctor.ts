import type { Command } from 'commander';
import type { DoctorCheck, DoctorReport, EngineFinding } from '../../engine/doctor.ts';
import { addExamples, type Cli } from '../action.ts';
import { exitCode } from '../exit-code.ts';
import type { Invocation } from '../invocation.ts';
import { toAlcoveError } from '../print-error.ts';
import type { Style } from '../style.ts';

/** Looks at the host. The entry gives it what it looks with. */
export type Diagnose = (options: {
  engine: EngineFinding;
  /** As given on the command line. */
  overrides: { stateDir?: string; backend?: 'qemu' | 'memory' };
  signal: AbortSignal;
}) => Promise<DoctorReport>;

export function addDoctorCommand(parent: Command, cli: Cli, diagnose: Diagnose): void {
  const command = parent
    .command('doctor')
    .description(
      'Check everything Alcove needs of this host, and say what is missing and the command that mends it. Mends what a crash left over. Exits with 0 when VMs can run here, else with 1.',
    )
    .action(cli.action((invocation) => doctor(invocation, diagnose)));
  addExamples(command, [
    ['alcove doctor', 'For people.'],
    ['alcove doctor --json', 'For programs: {"usable", "checks"}.'],
  ]);
}

async function doctor(invocation: Invocation, diagnose: Diagnose): Promise<number> {
  const { globals, signal, progress } = invocation;
  const { stateDir, backend } = globals;
  const report = await withEngineFinding(invocation, (engine) => {
    progress.step('looking at this host');
    return diagnose({
      engine,
      overrides: { ...(stateDir && { stateDir }), ...(backend && { backend }) },
      signal,
    });
  });
  await invocation.show(report, () => render(report, invocation.style));
  return report.usable ? exitCode.ok : exitCode.unusable;
}

/** Opens the engine where that works, which mends; where it does not, that is a finding. Waits for nobody. */
async function withEngineFinding<T>(
  invocation: Invocation,
  work: (engine: EngineFinding) => Promise<T>,
): Promise<T> {
  let opened = false;
  try {
    return await invocation.withEngine(
      (alcove) => {
        opened = true;
        return work({ state: 'open', alcove });
      },
      { lockWaitMs: 0 },
    );
  } catch (error) {
    if (opened || invocation.signal.aborted) throw error;
    return await work({ state: 'closed', error: toAlcoveError(error) });
  }
}

function render({ usable, checks }: DoctorReport, style: Style): string {
  const paint = { ok: style.good, degraded: style.warning, missing: style.bad };
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, state, found, remedy }: DoctorCheck) => [
    `${paint[state](state.padEnd(8))}  ${name.padEnd(width)}  ${found}`,
    ...(remedy === undefined ? [] : [`${' '.repeat(width + 12)}${style.bold(remedy)}`]),
  ]);
  const verdict = usable
    ? 'VMs can run here. Try: alcove run -- uname -a'
    : 'VMs cannot run here before what is missing has been mended.';
  return [...lines, '', verdict].join('\n');
}
