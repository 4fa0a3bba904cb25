/** The programs that run one container from an unpacked bundle, with no engine around them: crun, runsc. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Rootfs } from '../programs/rootfs.ts';

const execute = promisify(execFile);
/** Where hosts with control groups of both versions have the second. */
const hybridCgroups = '/sys/fs/cgroup/unified';

export interface RuntimeSpec {
  program: 'crun' | 'runsc';
  flags: readonly string[];
  /** Does not start where control groups of version 2 are mounted beside version 1. */
  refusesHybridCgroups?: true;
}

export const crun: RuntimeSpec = { program: 'crun', flags: [], refusesHybridCgroups: true };
/** gVisor. Without control groups, as without a network: neither is measured. */
export const runsc: RuntimeSpec = { program: 'runsc', flags: ['--network=none', '--ignore-cgroups'] };

export class OciRuntime {
  readonly version: string;
  readonly #command: readonly [string, ...string[]];
  readonly #bundle: string;
  #last = 0;

  private constructor(version: string, command: readonly [string, ...string[]], bundle: string) {
    this.version = version;
    this.#command = command;
    this.#bundle = bundle;
  }

  /** @throws when it is not installed, or cannot run a container here */
  static async connect(spec: RuntimeSpec, rootfs: Rootfs, workDir: string): Promise<OciRuntime> {
    const { stdout } = await execute(spec.program, ['--version']);
    const bundle = join(workDir, `bundle-${spec.program}`);
    mkdirSync(bundle);
    await execute(spec.program, ['spec'], { cwd: bundle });
    const config = join(bundle, 'config.json');
    writeFileSync(config, JSON.stringify(fill(JSON.parse(readFileSync(config, 'utf8')), rootfs)));
    const version = /version (\S+)/.exec(stdout)?.[1] ?? 'unknown';
    const runtime = new OciRuntime(version, commandOf(spec), bundle);
    await runtime.run();
    return runtime;
  }

  /** `run`: creates a container, starts the no-op as its process, and removes it when that has ended. */
  async run(): Promise<void> {
    const [program, ...args] = this.#command;
    this.#last++;
    await execute(program, [...args, 'run', `alcove-bench-${process.pid}-${this.#last}`], {
      cwd: this.#bundle,
    });
  }
}

function commandOf({ program, flags, refusesHybridCgroups }: RuntimeSpec): readonly [string, ...string[]] {
  if (!refusesHybridCgroups || !existsSync(hybridCgroups)) return [program, ...flags];
  return ['unshare', '--mount', 'sh', '-c', `umount ${hybridCgroups} && exec "$0" "$@"`, program, ...flags];
}

function fill(config: { process: object; root: object }, rootfs: Rootfs): object {
  return {
    ...config,
    process: { ...config.process, terminal: false, args: ['/bin/no-op'] },
    root: { path: rootfs.dir, readonly: true },
  };
}
