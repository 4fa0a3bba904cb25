import type { MemoryBackend, ScriptedExit, ScriptedRun } from '../../src/backends/memory/index.ts';

/** Gives scripted guests a shell that knows a few commands, joined by ` && `; scripts of whole lines go before it. */
export function installShell(backend: MemoryBackend): void {
  backend.script(
    ({ command }) => typeof command !== 'string' && command[0] === '/bin/sh',
    async (run) => {
      for (const line of (run.argv.at(-1) ?? '').split(' && ')) {
        const exit = await runLine(run, line.split(' '));
        if (exit !== 0) return exit;
      }
      return 0;
    },
  );
}

async function runLine(run: ScriptedRun, [name = '', ...words]: string[]): Promise<ScriptedExit> {
  const [first = ''] = words;
  switch (name) {
    case 'true':
      return 0;
    case 'exit':
      return Number(first);
    case 'echo':
      if (words.at(-2) === '>>') {
        run.files.append(absolute(run, words.at(-1) ?? ''), `${words.slice(0, -2).join(' ')}\n`);
        return 0;
      }
      await run.print(`${words.join(' ')}\n`);
      return 0;
    case 'pwd':
      await run.print(`${run.cwd}\n`);
      return 0;
    case 'env':
      for (const [key, value] of Object.entries(run.env)) await run.print(`${key}=${value}\n`);
      return 0;
    case 'cat':
      if (!run.files.exists(absolute(run, first))) return 1;
      await run.print(run.files.read(absolute(run, first)));
      return 0;
    case 'append': // To a file, a line.
      run.files.append(absolute(run, first), `${words.slice(1).join(' ')}\n`);
      return 0;
    case 'sync':
      run.files.sync();
      return 0;
    case 'sleep':
      await run.sleep(Number(first) * 1000);
      return 0;
    case 'remember':
      run.memory.set(first, words.slice(1).join(' '));
      return 0;
    case 'recall':
      await run.print(run.memory.get(first) ?? '');
      return 0;
    default:
      await run.printError(`sh: ${name}: not found\n`);
      return 127;
  }
}

function absolute(run: ScriptedRun, path: string): string {
  return path.startsWith('/') ? path : `${run.cwd}/${path}`;
}
