/** The Docker engine as a peer, where one can be reached. Uses the `docker` client, as its users do. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { timed } from './measure.ts';

const execute = promisify(execFile);
const image = 'alcove-bench:busybox';

export class Docker implements AsyncDisposable {
  readonly version: string;
  #container = '';

  private constructor(version: string) {
    this.version = version;
  }

  /** The engine with an image of the given root filesystem tar, and one container that stays up; `undefined` when there is no engine. */
  static async connect(rootfsTar: string): Promise<Docker | undefined> {
    try {
      const { stdout } = await execute('docker', ['version', '--format', '{{.Server.Version}}']);
      const docker = new Docker(stdout.trim());
      await execute('docker', ['import', rootfsTar, image]);
      const started = await execute('docker', [
        'run',
        '--detach',
        '--network=none',
        image,
        '/bin/sleep',
        '86400',
      ]);
      docker.#container = started.stdout.trim();
      return docker;
    } catch {
      return undefined; // No client, or no engine behind it: the table then has no such row.
    }
  }

  /** `docker run --rm` of a command, in ms. */
  run(command: readonly string[]): Promise<number> {
    return timed(() => execute('docker', ['run', '--rm', '--network=none', image, ...command]));
  }

  /** `docker exec` of a command in the container that is up, in ms. */
  exec(command: readonly string[]): Promise<number> {
    return timed(() => execute('docker', ['exec', this.#container, ...command]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await execute('docker', ['rm', '--force', this.#container]);
    await execute('docker', ['rmi', '--force', image]);
  }
}
