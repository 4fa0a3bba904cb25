import { createHash } from 'node:crypto';
import type { Behaviour, MemoryBackend } from '../../src/backends/memory/index.ts';
import { lines } from './guest-lines.ts';

/** Gives a scripted guest a behaviour for every line of the suite. */
export function scriptGuestLines(backend: () => MemoryBackend): void {
  const forever: Behaviour = { hang: 'until-killed' };
  const behaviours: Record<keyof typeof lines, Behaviour> = {
    bothStreams: { stdout: 'out\n', stderr: 'err\n', exitCode: 3 },
    killItself: { signal: 'SIGKILL' },
    variables: async (run) => {
      const { A = '', B = '', C = '' } = run.env;
      await run.print(`${A} ${B} ${C}\n`);
      return 0;
    },
    directory: async (run) => {
      await run.print(`${run.cwd}\n`);
      return 0;
    },
    userId: async (run) => {
      await run.print(`${run.user}\n`);
      return 0;
    },
    copyInput: async (run) => {
      for await (const chunk of run.stdin) await run.print(chunk);
      return 0;
    },
    terminalSize: async (run) => {
      await run.print(`${run.terminal?.rows} ${run.terminal?.columns}\n`);
      return 0;
    },
    tree: async (run) => {
      run.fork('sleep 5000');
      run.fork('sleep 5000');
      await run.print('up\n');
      return new Promise(() => undefined);
    },
    stubbornTree: async (run) => {
      run.onSignal('SIGTERM', () => undefined);
      run.fork('sleep 5000');
      run.fork('sleep 5000');
      await run.print('up\n');
      return new Promise(() => undefined);
    },
    countTree: async (run) => {
      await run.print(`${countOf(run.processes(), 'sleep 5000')}\n`);
      return 0;
    },
    background: async (run) => {
      run.fork('sleep 6000');
      await run.print('left\n');
      return 0;
    },
    countBackground: async (run) => {
      await run.print(`${countOf(run.processes(), 'sleep 6000')}\n`);
      return 0;
    },
    flood: async (run) => {
      const block = '0123456\n'.repeat(1250);
      for (let printed = 0; printed < 4_000_000; printed += block.length) await run.print(block);
      return 0;
    },
    writeOne: { writes: { '/root/note': 'one\n' } },
    writeTwo: { writes: { '/root/note': 'two\n' } },
    readNote: async (run) => {
      await run.print(run.files.read('/root/note'));
      return 0;
    },
    identity: async (run) => {
      const random = createHash('md5').update(run.random(16)).digest('hex');
      await run.print(`${run.hostname}\n${run.machineId}\n${random}\n`);
      return 0;
    },
    listen: forever,
    moment: {},
    wait: { stdout: 'up\n', hang: 'until-killed' },
    repeatAndWait: async (run) => {
      for await (const chunk of run.stdin) await run.print(chunk);
      return new Promise(() => undefined);
    },
    powerOff: async (run) => {
      backend().dieByItself(run.vmId, 'the guest powered off');
      return 0;
    },
  };
  for (const [name, behaviour] of Object.entries(behaviours))
    backend().script(lines[name as keyof typeof lines], behaviour);
  backend().script('sleep 5000', async (run) => {
    run.onSignal('SIGTERM', () => undefined);
    return new Promise(() => undefined);
  });
  backend().script('sleep 6000', forever);
  backend().listen(7777, async (connection) => connection.write('hello\n'));
}

function countOf(processes: ReadonlyMap<number, string>, line: string): number {
  return [...processes.values()].filter((found) => found === line).length;
}
