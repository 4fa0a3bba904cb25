import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../host/index.ts';
import { identifyProcess, toolPath } from '../../host/index.ts';
import type { GuestKernel } from '../../images/index.ts';
import type { Accelerator } from './accelerator.ts';
import { killProcess } from './end-process.ts';
import { QmpConnection } from './qmp-connection.ts';

export interface TrialOptions {
  program: string;
  accelerator: Accelerator;
  kernel: GuestKernel;
  /** A sound KVM boots in a second or two. */
  deadlineMs: number;
  clock: Clock;
}

/**
 * Boots a kernel with nothing but the agent's port, until the agent opens it. The process is gone when this resolves,
 * whatever it did: a guest that hangs in KVM hangs for ever.
 *
 * @returns `undefined` when the agent came up; else what happened
 */
export async function trialBoot(options: TrialOptions): Promise<string | undefined> {
  const { clock, deadlineMs } = options;
  const dir = await mkdtemp(join(tmpdir(), 'alcove-trial-'));
  const socket = join(dir, 'qmp.sock');
  // Should the engine be killed meanwhile, nobody would look for this process again: then it goes with the engine.
  const command = ['--pdeathsig', 'KILL', '--', options.program, ...trialArgs(options, socket)];
  const child = spawn('setpriv', command, {
    env: { PATH: toolPath(), LC_ALL: 'C' },
    detached: true,
    stdio: 'ignore',
  });
  const gone = new AbortController();
  child.once('error', () => gone.abort());
  child.once('exit', () => gone.abort());
  const identity = child.pid === undefined ? undefined : identifyProcess(child.pid);
  const opened = Promise.withResolvers<void>();
  let qmp: QmpConnection | undefined;
  try {
    qmp = await QmpConnection.open({
      path: socket,
      clock,
      timeoutMs: deadlineMs,
      signal: gone.signal,
      onEvent: ({ name, data }) => {
        if (name === 'VSERPORT_CHANGE' && data.open === true) opened.resolve();
      },
    });
    const timeout = new AbortController();
    const outcome = await Promise.race([
      opened.promise.then(() => undefined),
      qmp.closed.then(() => 'QEMU ended during a trial boot'),
      clock
        .sleep(deadlineMs, timeout.signal)
        .then(() => `a kernel did not come up in it within ${deadlineMs} ms`)
        .catch(() => undefined), // The race is over.
    ]);
    timeout.abort();
    return outcome;
  } catch (error) {
    return `QEMU did not start a trial boot: ${(error as Error).message}`;
  } finally {
    if (identity) await killProcess(identity, clock);
    qmp?.[Symbol.dispose]();
    await rm(dir, { recursive: true, force: true });
  }
}

function trialArgs({ accelerator, kernel }: TrialOptions, socket: string): string[] {
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'q35', '-m', '256'],
    ...['-accel', accelerator, '-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ...['-kernel', kernel.kernelPath, '-initrd', kernel.initramfsPath],
    ...['-append', 'quiet rdinit=/init panic=-1', '-no-reboot'],
    ...['-qmp', `unix:${socket},server=on,wait=off`],
    // QEMU tells of the opening of ports that have an id.
    ...['-chardev', 'null,id=agent0', '-device', 'virtio-serial-pci'],
    ...['-device', 'virtserialport,id=port0,chardev=agent0,name=alcove.agent'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
  ];
}
