import { randomBytes } from 'node:crypto';
import { builtinImage, openImageStore } from '../../src/images/index.ts';
import { openSessions, type SessionFailpoint, type SessionOptions } from '../../src/sessions/index.ts';
import type { Database, StateDirLayout } from '../../src/store/index.ts';
import type { VmRuntime } from '../../src/vm/index.ts';

const usual: SessionOptions = {
  enabled: true,
  image: builtinImage,
  maxVms: 32,
  shell: '/bin/sh',
  shellArgs: ['-lc'],
  env: {},
  idleShutdownMs: 900_000,
  pruneAfterMs: 3_600_000,
  backupKeep: 3,
  bootstrapTimeoutMs: 600_000,
  stopMode: 'suspend',
  maintenanceIntervalMs: 3_600_000,
  stopIdleForRoom: 'no',
  cpus: 1,
  memoryMiB: 256,
  diskMiB: 2048,
  network: 'none',
};

/** Sessions over real machines, as an engine opens them. */
export function openTestSessions(
  { stateDir, database, runtime }: { stateDir: StateDirLayout; database: Database; runtime: VmRuntime },
  options: Partial<SessionOptions>,
  more: { failpoint?: SessionFailpoint; warn?: (message: string) => void } = {},
) {
  const layout = { ...stateDir, [Symbol.dispose]: () => undefined };
  return openSessions({
    runtime,
    database,
    images: openImageStore({ stateDir: layout, database }),
    options: { ...usual, ...options },
    owner: 'test',
    random: randomBytes,
    ...more,
  });
}
