import { isAlcoveError } from '../../errors.ts';
import type { ExecRequest } from '../../guest/index.ts';
import { commandLine, type ScriptedExit, type ScriptedRun } from './script.ts';

type Builtin = (run: ScriptedRun, words: readonly string[]) => ScriptedExit | Promise<ScriptedExit>;

/** What a scripted guest knows without a script. Words are split at blanks; there is no quoting and no shell. */
const builtins: Readonly<Record<string, Builtin>> = {
  true: () => 0,
  false: () => 1,
  echo: async (run, words) => {
    await run.print(`${words.join(' ')}\n`);
    return 0;
  },
  cat: async (run, [path]) => {
    if (path !== undefined) await run.print(run.files.read(path));
    else for await (const chunk of run.stdin) await run.print(chunk);
    return 0;
  },
  write: (run, [path = '', ...words]) => {
    run.files.write(path, words.join(' '));
    return 0;
  },
  append: (run, [path = '', ...words]) => {
    run.files.append(path, words.join(' '));
    return 0;
  },
  rm: (run, [path = '']) => {
    run.files.remove(path);
    return 0;
  },
  ls: async (run, [path = run.cwd]) => {
    for (const name of run.files.list(path)) await run.print(`${name}\n`);
    return 0;
  },
  sync: (run) => {
    run.files.sync();
    return 0;
  },
  pwd: async (run) => {
    await run.print(`${run.cwd}\n`);
    return 0;
  },
  env: async (run) => {
    for (const [key, value] of Object.entries(run.env)) await run.print(`${key}=${value}\n`);
    return 0;
  },
  hostname: async (run) => {
    await run.print(`${run.hostname}\n`);
    return 0;
  },
  sleep: async (run, [seconds = '0']) => {
    await run.sleep(Number(seconds) * 1000);
    return 0;
  },
  /** `remember KEY VALUE`: into the machine's memory. */
  remember: (run, [key = '', ...words]) => {
    run.memory.set(key, words.join(' '));
    return 0;
  },
  recall: async (run, [key = '']) => {
    const value = run.memory.get(key);
    if (value === undefined) return 1;
    await run.print(`${value}\n`);
    return 0;
  },
  /** `count KEY`: one more each time, in memory. */
  count: async (run, [key = 'count']) => {
    const next = Number(run.memory.get(key) ?? 0) + 1;
    run.memory.set(key, String(next));
    await run.print(`${next}\n`);
    return 0;
  },
  ps: async (run) => {
    for (const [pid, line] of run.processes()) await run.print(`${pid} ${line}\n`);
    return 0;
  },
};

/** The built-in behaviour for a request; `undefined` when there is none. */
export function findBuiltin(request: ExecRequest): ((run: ScriptedRun) => Promise<ScriptedExit>) | undefined {
  const [name = '', ...words] = commandLine(request.command).split(' ');
  const builtin = Object.hasOwn(builtins, name) ? builtins[name] : undefined;
  if (!builtin) return undefined;
  return async (run) => {
    try {
      return await builtin(run, words);
    } catch (error) {
      if (!isAlcoveError(error, 'GuestFile')) throw error;
      await run.printError(`${name}: ${error.message}\n`);
      return 1;
    }
  };
}
