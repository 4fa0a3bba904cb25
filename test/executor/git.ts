import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What git says of folders that are no repositories. Nobody's settings count. */
export class Git implements Disposable {
  readonly #gitDir = mkdtempSync(join(tmpdir(), 'git-'));

  constructor() {
    execFileSync('git', ['init', '--quiet', '--bare', '--template=', this.#gitDir]);
  }

  /** Files that could be added, sorted. */
  addable(folder: string): string[] {
    const args = [
      '-c',
      'core.excludesFile=/dev/null',
      'ls-files',
      '--others',
      '--cached',
      '--exclude-standard',
    ];
    return this.#git(folder, args).sort();
  }

  /** Which of the paths rules leave out, whatever is there. @param paths directories with a slash at their end */
  ignored(folder: string, rules: string, paths: readonly string[]): string[] {
    const file = join(this.#gitDir, 'rules');
    writeFileSync(file, rules);
    try {
      const args = ['-c', `core.excludesFile=${file}`, 'check-ignore', '--no-index', '--stdin'];
      return this.#git(folder, args, paths.map((path) => `${path}\0`).join(''));
    } catch (error) {
      if ((error as { status?: number }).status === 1) return []; // None is.
      throw error;
    }
  }

  #git(folder: string, args: readonly string[], input = ''): string[] {
    const env = {
      ...process.env,
      GIT_DIR: this.#gitDir,
      GIT_WORK_TREE: folder,
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_CONFIG_SYSTEM: '/dev/null',
    };
    const printed = execFileSync('git', [...args, '-z'], { cwd: folder, env, input, encoding: 'utf8' });
    return printed.split('\0').filter((path) => path !== '');
  }

  [Symbol.dispose](): void {
    rmSync(this.#gitDir, { recursive: true });
  }
}
