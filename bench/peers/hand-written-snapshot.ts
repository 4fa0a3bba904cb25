/**
 * Snapshots of memory by hand: QEMU's own migration to a file and back. Either with the RAM in a file beside it that need not be
 * copied (`x-ignore-shared`), or all of it in the stream.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { LineSocket, Monitor } from './by-hand.ts';
import { diskArgs, type HandWrittenFiles, kernelArgs } from './hand-written.ts';

export class HandWrittenMachine implements AsyncDisposable {
  readonly #qemu: ChildProcess;
  readonly #monitor: Monitor;
  readonly #shell: LineSocket;
  readonly #dir: string;

  private constructor(qemu: ChildProcess, monitor: Monitor, shell: LineSocket, dir: string) {
    this.#qemu = qemu;
    this.#monitor = monitor;
    this.#shell = shell;
    this.#dir = dir;
  }

  /** Boots one whose RAM is a shared file, or its own. */
  static async boot(options: MachineOptions): Promise<HandWrittenMachine> {
    const { files } = options;
    const machine = await HandWrittenMachine.#spawn(options, kernelArgs(files, files.serve));
    while ((await machine.#shell.read()) !== 'ready');
    return machine;
  }

  /** Goes on from a snapshot of a machine whose RAM was a shared file. The file stays as it is: it is mapped private. */
  static async restore(options: MachineOptions & { state: string }): Promise<HandWrittenMachine> {
    const stateFile = openSync(options.state, 'r');
    try {
      const machine = await HandWrittenMachine.#spawn(options, ['-incoming', 'defer'], stateFile);
      await machine.#ignoreShared();
      await machine.#monitor.do('migrate-incoming', { uri: 'fd:3' });
      await machine.#monitor.migrated();
      return machine;
    } finally {
      closeSync(stateFile);
    }
  }

  static async #spawn(
    { files, ram, memoryMiB, workDir }: MachineOptions,
    more: readonly string[],
    stateFile?: number,
  ): Promise<HandWrittenMachine> {
    const dir = mkdtempSync(join(workDir, 'hand-'));
    const [monitorPath, shellPath] = [join(dir, 'qmp'), join(dir, 'shell')];
    const args = ['-accel', 'tcg', '-m', `${memoryMiB}`, '-nodefaults', '-display', 'none', '-no-reboot'];
    if (ram !== undefined) {
      const share = stateFile === undefined ? 'on' : 'off';
      args.push('-machine', 'pc,memory-backend=ram', '-object');
      args.push(`memory-backend-file,id=ram,size=${memoryMiB}M,mem-path=${ram},share=${share}`);
    }
    args.push('-serial', 'null', '-chardev', `socket,id=shell,path=${shellPath},server=on,wait=off`);
    args.push('-serial', 'chardev:shell', '-qmp', `unix:${monitorPath},server=on,wait=off`);
    const stdio = ['ignore', 'ignore', 'inherit', ...(stateFile === undefined ? [] : [stateFile])] as const;
    const qemu = spawn('qemu-system-x86_64', [...args, ...diskArgs(files), ...more], { stdio: [...stdio] });
    return new HandWrittenMachine(
      qemu,
      await Monitor.open(monitorPath),
      await LineSocket.open(shellPath),
      dir,
    );
  }

  /** The state of the devices, into a file; the RAM is in its own. The machine does not go on. */
  async saveState(path: string): Promise<void> {
    await this.#ignoreShared();
    await this.#migrateTo(path);
  }

  /** Devices and the whole RAM, into a file, while the machine stands still; then it goes on. */
  async saveAll(path: string): Promise<void> {
    await this.#monitor.do('stop');
    await this.#migrateTo(path);
    await this.#monitor.do('cont');
  }

  /** Runs a command to its end, and gives what it prints, line by line. */
  async *stream(command: readonly string[]): AsyncGenerator<Buffer> {
    this.#shell.write(command.join(' '));
    for (;;) {
      const line = await this.#shell.read();
      if (line === 'exit 0') return;
      if (line.startsWith('exit ')) throw new Error(`${command.join(' ')}: ${line}`);
      yield Buffer.from(`${line}\n`);
    }
  }

  async exec(command: readonly string[]): Promise<void> {
    for await (const _ of this.stream(command));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#monitor.close();
    this.#shell.close();
    if (this.#qemu.exitCode === null && this.#qemu.signalCode === null) {
      const ended = once(this.#qemu, 'exit');
      this.#qemu.kill('SIGKILL');
      await ended;
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #ignoreShared(): Promise<unknown> {
    const capabilities = [{ capability: 'x-ignore-shared', state: true }];
    return this.#monitor.do('migrate-set-capabilities', { capabilities });
  }

  async #migrateTo(path: string): Promise<void> {
    // QEMU bounds a stream to 128 MiB/s unless told otherwise.
    await this.#monitor.do('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 });
    await this.#monitor.do('migrate', { uri: `exec:cat > ${path}` });
    await this.#monitor.migrated();
  }
}

export interface MachineOptions {
  files: HandWrittenFiles;
  /** The file its RAM is mapped from. @default RAM of its own */
  ram?: string;
  memoryMiB: number;
  workDir: string;
}
