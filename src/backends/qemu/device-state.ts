import { chmod, chown, copyFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import type { Clock } from '../../host/index.ts';
import { syncPath } from '../../store/index.ts';
import type { QmpConnection } from './qmp-connection.ts';

/** What a saved state is called, in the jail and where it is kept. */
export const stateFile = 'device.state';

/** The file descriptor at which `spawnQemu` hands QEMU a state: the first after standard error. */
const stateUri = 'fd:3';
const pollMs = 1;

/**
 * Lets QEMU write the state of everything but RAM, 200 KB in 3 ms. `xen-save-devices-state` has nothing of Xen about it
 * (qapi/migration.json); `live` leaves the block devices to this QEMU. The file is made beforehand, since QEMU may not make any.
 */
export async function saveDeviceState(qmp: QmpConnection): Promise<void> {
  await qmp.execute('xen-save-devices-state', { filename: stateFile, live: true });
}

/** Makes the file that {@link saveDeviceState} writes. @param owner whom QEMU runs as */
export async function makeStateFile(jail: string, owner: number | undefined): Promise<void> {
  const path = join(jail, stateFile);
  await rm(path, { force: true });
  await writeFile(path, '', { mode: 0o600 });
  if (owner !== undefined) await chown(path, owner, owner);
}

/** Takes a state out of the jail, away from who wrote it. */
export async function keepDeviceState(jail: string, to: string): Promise<void> {
  const from = join(jail, stateFile);
  await rm(to, { force: true }); // An earlier one cannot be written to.
  await copyFile(from, to);
  await chmod(to, 0o400);
  await syncPath(to);
  await rm(from, { force: true });
}

const migrationAnswer = z.object({ status: z.string().optional(), 'error-desc': z.string().optional() });

/**
 * Loads the state that the process was started with, beside RAM that is mapped already and therefore not expected in it
 * (capability `x-ignore-shared`). The machine stands still afterwards.
 *
 * @throws AlcoveError `VmFailed` when QEMU refuses it
 */
export async function loadDeviceState(qmp: QmpConnection, clock: Clock, signal: AbortSignal): Promise<void> {
  const capabilities = [{ capability: 'x-ignore-shared', state: true }];
  await qmp.execute('migrate-set-capabilities', { capabilities });
  await qmp.execute('migrate-incoming', { uri: stateUri });
  for (;;) {
    const answer = migrationAnswer.parse(await qmp.execute('query-migrate'));
    if (answer.status === 'completed') return;
    if (answer.status === 'failed')
      throw new AlcoveError(
        'VmFailed',
        `QEMU cannot load the state: ${answer['error-desc'] ?? 'it does not say why'}`,
      );
    await clock.sleep(pollMs, signal);
  }
}
