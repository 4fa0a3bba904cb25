import { afterAll, beforeAll, describe } from 'vitest';
import type { BackendCapabilities, VmRuntime } from '../../src/vm/index.ts';
import { describeCommands } from './commands.ts';
import { describeFilesAndPorts } from './files-and-ports.ts';
import type { ConformanceHarness, Suite } from './harness.ts';
import { describeOrder } from './order.ts';
import { describeSnapshots } from './snapshots.ts';
import { describeSpares } from './spares.ts';
import { describeSurvival } from './survival.ts';
import { describeTable } from './transition-table.ts';

/**
 * The conformance suite: what every backend must show under the VM runtime. A boot may be slow, so a few VMs walk through
 * many states; tests of one group build on each other and run in order.
 */
export function describeBackend(name: string, makeHarness: () => Promise<ConformanceHarness>): void {
  describe(`conformance of ${name}`, { sequential: true }, () => {
    let harness: ConformanceHarness;
    let runtime: VmRuntime;
    let capabilities: BackendCapabilities;
    const suite: Suite = {
      get harness() {
        return harness;
      },
      get runtime() {
        return runtime;
      },
      get capabilities() {
        return capabilities;
      },
      create: (id, spec = {}) => runtime.create({ image: harness.image, ...harness.spec, ...spec, id }),
      async boot(id, spec) {
        await suite.create(id, spec);
        return runtime.start(id);
      },
      async run(id, line) {
        const { stdout } = await runtime.exec(id, { command: line, nonZeroExit: 'error' });
        return stdout;
      },
      async reopen() {
        await runtime.close();
        runtime = await harness.open();
        return runtime;
      },
    };

    beforeAll(async () => {
      harness = await makeHarness();
      runtime = await harness.open();
      capabilities = await runtime.capabilities();
    });
    afterAll(async () => {
      for (const { id } of await runtime.list({ destroyed: 'leave-out' })) await runtime.destroy(id);
      await runtime.close();
      await harness.cleanUp();
    });

    describeTable(suite);
    describeCommands(suite);
    describeFilesAndPorts(suite);
    describeSnapshots(suite);
    describeOrder(suite);
    describeSurvival(suite);
    describeSpares(suite);
  });
}
