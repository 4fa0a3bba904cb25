import type { Sessions } from '../../../src/sessions/index.ts';

type Log = (call: string, ...args: unknown[]) => Promise<void>;

const unused = (): never => {
  throw new Error('the CLI should not need this');
};

/** Sessions that keep a log of their calls and do what a test says. */
export class FakeSessions {
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  calls(): Sessions {
    return {
      acquire: unused,
      tryAcquire: unused,
      list: async () => {
        await this.#log('sessions.list');
        return [];
      },
      inspect: unused,
      stop: unused,
      terminate: unused,
      backup: unused,
      restore: unused,
      runMaintenanceNow: unused,
      metrics: unused,
      backups: { list: unused, verify: unused, remove: unused },
    };
  }
}
