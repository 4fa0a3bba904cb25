import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { queryRunState } from '../../src/backends/qemu/qmp-commands.ts';
import { QmpConnection } from '../../src/backends/qemu/qmp-connection.ts';
import { machinePlaces } from '../../src/backends/qemu/vm-places.ts';
import { systemClock } from '../../src/host/index.ts';
import type { BackendVm } from '../../src/vm/index.ts';
import { run, startRequest } from './in-guest.ts';
import { type MachineFixture, openMachineFixture, pidOf } from './machine-fixture.ts';

/** Four boots, two of them cut short. */
describe('after a crash of the engine', { sequential: true }, () => {
  let fixture: MachineFixture;
  let vm: BackendVm;

  beforeAll(async () => {
    fixture = await openMachineFixture();
  });
  afterAll(async () => {
    await vm?.destroy();
    fixture?.expectNothingLeft();
    fixture?.close();
  });

  /** A new engine's view of a VM, given a handle that is older than the truth. */
  const recover = (id: string) => fixture.backend().recover({ ...fixture.request(id), handle: undefined });

  /** Another process creates and starts the VM, and is killed when it says that it has come so far. */
  async function killedWhile(id: string, step: string): Promise<void> {
    const request = join(fixture.stateDir.tmpDir, `${id}.json`);
    writeFileSync(request, JSON.stringify({ stateDir: fixture.stateDir, create: fixture.request(id) }));
    const engine = spawn(
      process.execPath,
      [fileURLToPath(new URL('./doomed-engine.ts', import.meta.url)), request],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let said = '';
    for await (const chunk of engine.stdout) {
      said += String(chunk);
      if (said.includes(step)) break;
    }
    engine.kill('SIGKILL');
    if (engine.exitCode === null && engine.signalCode === null) await once(engine, 'exit');
    expect(said).toContain(step);
  }

  test('a machine that was set up is adopted, and goes on', async () => {
    await killedWhile('kept', 'up');
    vm = await recover('kept');
    expect(await vm.observe()).toBe('running');
    expect(await run(vm, 'cat /root/from-before')).toBe('before\n');
    expect(pidOf(vm)).toBeGreaterThan(0);
  });

  test('one that is let go and adopted again has its channel back, its console too', async () => {
    await run(vm, 'echo mark > /dev/ttyS0');
    await vm.release();
    vm = await recover('kept');
    expect(await run(vm, 'echo again')).toBe('again\n');
    expect(await vm.console()).toContain('mark');
  });

  test('without its run record it is found by its name', async () => {
    await vm.release();
    rmSync(join(fixture.stateDir.vmsDir, 'kept/machine/run.json'));
    const pid = findQemu('kept');
    expect(pid).toBeDefined();
    // Nothing says that this machine was ever set up: it is ended rather than trusted.
    vm = await recover('kept');
    expect(await vm.observe()).toBe('off');
    expect(findQemu('kept')).toBeUndefined();
    fixture.expectNothingLeft();
    await vm.start(startRequest());
    expect(await run(vm, 'cat /root/from-before')).toBe('before\n');
  });

  test('a snapshot that was cut off before QEMU changed layers is taken back', async () => {
    await vm.release();
    const recordPath = join(fixture.stateDir.vmsDir, 'kept/vm.json');
    const record = JSON.parse(readFileSync(recordPath, 'utf8'));
    const { top } = record.disk;
    record.disk.layers.push({ file: `${top}.qcow2`, digest: null });
    record.disk.top = top + 1;
    writeFileSync(recordPath, JSON.stringify(record));
    vm = await recover('kept');
    expect(JSON.parse(readFileSync(recordPath, 'utf8')).disk.top).toBe(top);
    await run(vm, 'echo then > /root/then; sync');
    const snapshot = await fixture.snapshot(vm, 'after-all');
    expect(Object.keys(snapshot.manifest.files)).toHaveLength(top + 1);
  });

  test('a guest that ended while nobody looked is off, with its last words', async () => {
    const guest = await vm.guest();
    await guest.shutdown({ graceMs: 0 });
    await vm.release();
    {
      // The guest powers off; QEMU waits to be looked at.
      const { qmpSocket } = machinePlaces(
        fixture.stateDir,
        'kept',
        join(fixture.stateDir.vmsDir, 'kept/machine'),
      );
      using qmp = await QmpConnection.open({
        path: qmpSocket,
        clock: systemClock,
        timeoutMs: 5000,
        onEvent: () => undefined,
      });
      await expect.poll(() => queryRunState(qmp), { timeout: 10_000 }).toBe('shutdown');
    }
    vm = await recover('kept');
    expect(await vm.observe()).toBe('off');
    expect(await vm.console()).toContain('Power down');
    fixture.expectNothingLeft();
  });

  test.each(['starting QEMU', 'waking the guest'])('a machine that was at "%s" is ended', async (step) => {
    await killedWhile('half', step);
    const half = await recover('half');
    expect(await half.observe()).toBe('off');
    await half.destroy();
    fixture.expectNothingLeft();
    rmSync(join(fixture.stateDir.vmsDir, 'half'), { recursive: true });
  });

  test('what no record knows is ended by its name alone', async () => {
    await killedWhile('lost', 'waking the guest');
    rmSync(join(fixture.stateDir.vmsDir, 'lost'), { recursive: true });
    const dir = join(fixture.stateDir.vmsDir, 'lost');
    await fixture.backend().reap({ id: 'lost', dir });
    await fixture.backend().reap({ id: 'lost', dir });
    fixture.expectNothingLeft();
  });

  test('a VM of which nothing is known is not made up', async () => {
    await expect(recover('unknown')).rejects.toMatchObject({ code: 'StateCorrupt' });
  });

  /** Pid of the QEMU that bears a VM's name. */
  function findQemu(id: string): number | undefined {
    for (const entry of readdirSync('/proc')) {
      if (!/^\d+$/.test(entry)) continue;
      try {
        const args = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
        const isOfThisDirectory = args.some((arg) => arg.includes(`${fixture.stateDir.runtimeDir}/`));
        if (
          isOfThisDirectory &&
          args.some((arg) => arg.startsWith('guest=alcove-') && arg.endsWith(`-${id}`))
        )
          return Number(entry);
      } catch {
        // It ended meanwhile.
      }
    }
    return undefined;
  }
});
