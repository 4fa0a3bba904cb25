import { AlcoveError } from '../../errors.ts';
import { type Clock, isAlive, type ProcessIdentity, signalProcess } from '../../host/index.ts';

const pollMs = 3;

/** Waits until that very process is gone. @returns whether it is */
export async function waitForEnd(
  identity: ProcessIdentity,
  timeoutMs: number,
  clock: Clock,
): Promise<boolean> {
  const deadline = clock.monotonic() + timeoutMs;
  while (isAlive(identity)) {
    if (clock.monotonic() >= deadline) return false;
    await clock.sleep(pollMs);
  }
  return true;
}

/**
 * Kills that very process and waits until it is gone.
 *
 * @throws AlcoveError `VmFailed` when it is still there after 10 s, as a process that hangs in the kernel is
 */
export async function killProcess(identity: ProcessIdentity, clock: Clock): Promise<void> {
  signalProcess(identity, 'SIGKILL');
  if (await waitForEnd(identity, 10_000, clock)) return;
  throw new AlcoveError('VmFailed', `the QEMU process ${identity.pid} does not end, although it was killed`, {
    remedy: 'It hangs in the host kernel; look at the host’s storage, then destroy the VM again.',
  });
}
