/** The pool as spec/sessions.md has it. */
import { afterEach, describe, expect, test } from 'vitest';
import type { Lease, SessionOptions } from '../../src/sessions/index.ts';
import { hour, minute, openSessionsFixture, type SessionsFixture, settled } from './sessions-fixture.ts';

let fixture: SessionsFixture;
const open = async (options: Partial<SessionOptions> = {}, backups: 'yes' | 'no' = 'no') => {
  fixture = await openSessionsFixture({ options, backups });
};
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

const acquire: SessionsFixture['sessions']['acquire'] = (...args) => fixture.sessions.acquire(...args);
/** Uses a session once. */
const use = async (id: string, command = 'true') => {
  await using lease = await acquire(id);
  return await lease.exec(command);
};
const note = (id: string, text: string) => use(id, `append notes ${text}`);
const notes = async (id: string) => (await use(id, 'cat notes')).stdout;
const status = async (id: string) => (await fixture.sessions.list()).find((info) => info.id === id)?.status;
const calls = (call: string) => fixture.vm.backend.log.filter((entry) => entry.call === call);
const code = (expected: string) => expect.objectContaining({ code: expected });

describe('a lease', () => {
  test('is of a machine that runs, in its workdir, by its shell', async () => {
    await open({ shellArgs: ['-c'], env: { MODE: 'test' } });
    await using lease = await acquire('s');
    expect(lease).toMatchObject({
      sessionId: 's',
      mode: 'exclusive',
      workdir: '/work',
      shell: '/bin/sh',
      shellArgs: ['-c'],
      env: { MODE: 'test' },
    });
    expect((await lease.vm.info()).status).toBe('running');
    expect((await lease.exec('pwd')).stdout).toBe('/work\n');
    expect(calls('exec').at(-1)?.about).toBe('/bin/sh -c pwd');
  });

  test('runs commands with the static environment, below what the command itself has', async () => {
    await open({ env: { A: '1', B: '1' } });
    await using lease = await acquire('s');
    const { stdout } = await lease.exec('env', { env: { B: '2' } });
    expect(stdout.split('\n')).toEqual(expect.arrayContaining(['A=1', 'B=2']));
  });

  test('tells an exit code other than 0 as a result', async () => {
    await open();
    expect(await use('s', 'exit 3')).toMatchObject({ exitCode: 3 });
  });

  test('can be taken by the UUID in capitals, and is of the same session', async () => {
    await open();
    const id = '7c9e6679-7425-40de-944b-e07fc1f90ae7';
    await note(id, 'one');
    expect(await notes(id.toUpperCase())).toBe('one\n');
  });

  test('ends its commands when it is given back, and no command begins after', async () => {
    await open();
    const lease = await acquire('s');
    const running = lease.exec('sleep 1000');
    running.catch(() => undefined);
    const spawned = await lease.spawn('sleep 1000');
    await fixture.clock.whenWaiting(3);
    await lease.release();
    await expect(running).rejects.toThrow(code('Cancelled'));
    await expect(spawned.exited).rejects.toThrow(code('Cancelled'));
    await expect(lease.exec('true')).rejects.toThrow(code('LeaseReleased'));
    await expect(lease.spawn('true')).rejects.toThrow(code('LeaseReleased'));
    expect(await use('s', 'true')).toMatchObject({ exitCode: 0 });
  });

  test('lets go of detached commands, which another lease joins', async () => {
    await open();
    const lease = await acquire('s');
    await lease.spawn('echo begun && sleep 100 && echo ended', { detachedId: 'd' });
    await lease.release();
    await using next = await acquire('s');
    const process = await next.attach('d');
    await fixture.clock.advance(100_000);
    expect(await process.exited).toMatchObject({ exitCode: 0 });
  });

  test('without a command spawns the shell itself', async () => {
    await open();
    fixture.vm.backend.script('/bin/sh', { stdout: '$ ' });
    await using lease = await acquire('s');
    const process = await lease.spawn(undefined, { pty: { rows: 24, columns: 80 } });
    expect(await process.exited).toMatchObject({ exitCode: 0 });
  });

  test('is given back once', async () => {
    await open();
    const lease = await acquire('s');
    await Promise.all([lease.release(), lease.release(), lease[Symbol.asyncDispose]()]);
    await using next = await acquire('s');
    await lease.release();
    expect(await fixture.sessions.tryAcquire('s')).toBeUndefined();
    expect(next.sessionId).toBe('s');
  });
});

describe('leases of one session', () => {
  test('are exclusive, and granted in the order of asking', async () => {
    await open();
    const order: number[] = [];
    let inside = 0;
    await Promise.all(
      Array.from({ length: 6 }, async (_, index) => {
        await using lease = await acquire('s');
        expect(++inside).toBe(1);
        order.push(index);
        await lease.exec(`append notes ${index}`);
        inside--;
      }),
    );
    expect(order).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await notes('s')).toBe('0\n1\n2\n3\n4\n5\n');
  });

  test('tell a caller its place in the queue', async () => {
    await open();
    const first = await acquire('s');
    const places: number[][] = [[], []];
    const waiting = places.map((seen) => acquire('s', { onQueued: (place) => seen.push(place) }));
    expect(await fixture.sessions.inspect('s')).toMatchObject({ leases: 1, waiting: 2 });
    await first.release();
    for (const lease of waiting) await (await lease).release();
    expect(places).toEqual([[1], [2, 1]]);
  });

  test('leave no trace of a caller that gives up', async () => {
    await open();
    const first = await acquire('s');
    const abort = new AbortController();
    const second = acquire('s', { signal: abort.signal });
    const late = acquire('s', { waitMs: 1000 });
    late.catch(() => undefined);
    const third = acquire('s');
    abort.abort();
    await expect(second).rejects.toThrow(code('Cancelled'));
    await fixture.clock.advance(1000);
    await expect(late).rejects.toThrow(code('SessionBusy'));
    expect(await fixture.sessions.metrics()).toMatchObject({ waiting: { turn: 1 }, leases: 1 });
    await first.release();
    await (await third).release();
    expect(await fixture.sessions.metrics()).toMatchObject({ waiting: { turn: 0 }, leases: 0 });
  });

  test('are shared when that is asked for, and an exclusive one waits for all of them', async () => {
    await open();
    const shared = await Promise.all([1, 2, 3].map(() => acquire('s', { mode: 'shared' })));
    expect(calls('create')).toHaveLength(1);
    await Promise.all(shared.map((lease, index) => lease.exec(`append notes ${index}`)));
    let granted = false;
    const exclusive = acquire('s').then((lease) => {
      granted = true;
      return lease;
    });
    for (const lease of shared) {
      await settled();
      expect(granted).toBe(false);
      await lease.release();
    }
    await (await exclusive).release();
    expect((await notes('s')).split('\n').sort()).toEqual(['', '0', '1', '2']);
  });

  test('are not waited for by who only tries', async () => {
    await open({ maxVms: 1 });
    await using lease = (await fixture.sessions.tryAcquire('s')) as Lease;
    expect(lease.mode).toBe('exclusive');
    expect(await fixture.sessions.tryAcquire('s')).toBeUndefined();
    expect(await fixture.sessions.tryAcquire('s', { mode: 'shared' })).toBeUndefined();
    expect(await fixture.sessions.tryAcquire('other')).toBeUndefined();
  });

  test('of different sessions run in parallel', async () => {
    await open();
    const both = await Promise.all([acquire('a'), acquire('b')]);
    const done = Promise.all(both.map((lease) => lease.exec('sleep 10')));
    await fixture.clock.advance(10_000);
    expect(await done).toHaveLength(2);
    for (const lease of both) await lease.release();
  });
});

describe('the pool', () => {
  test('that is disabled says so', async () => {
    await open({ enabled: false });
    const { sessions } = fixture;
    const message = 'VM pool is disabled; no persistent environments available';
    for (const call of [
      () => sessions.acquire('s'),
      () => sessions.tryAcquire('s'),
      () => sessions.stop('s'),
      () => sessions.terminate('s'),
      () => sessions.backup('s'),
      () => sessions.restore('s'),
      () => sessions.runMaintenanceNow(),
    ])
      await expect(call()).rejects.toMatchObject({ code: 'SessionsDisabled', message });
    expect(await sessions.list()).toEqual([]);
  });

  test.for(['inspect', 'stop', 'terminate', 'backup'] as const)(
    '%s of what is not there says so',
    async (call) => {
      await open({}, 'yes');
      await expect(fixture.sessions[call]('nobody')).rejects.toThrow(code('SessionNotFound'));
    },
  );

  test.for(['stop', 'terminate', 'restore'] as const)('%s of a leased session is refused', async (call) => {
    await open({}, 'yes');
    await note('s', 'one');
    await fixture.sessions.backup('s');
    await using lease = await acquire('s', { mode: 'shared' });
    await expect(fixture.sessions[call]('s')).rejects.toThrow(code('SessionBusy'));
    expect((await lease.exec('cat notes')).stdout).toBe('one\n');
  });

  test('lists what there is, those that are being made included', async () => {
    await open();
    const hung = fixture.vm.backend.hang('start.middle');
    const making = acquire('b');
    await hung.reached;
    expect(await fixture.sessions.list()).toMatchObject([{ id: 'b', status: 'making' }]);
    hung.release();
    await (await making).release();
    await using _ = await acquire('a');
    expect(await fixture.sessions.list()).toMatchObject([
      { id: 'a', status: 'active', leases: 1 },
      { id: 'b', status: 'active', leases: 0 },
    ]);
  });

  test('closes with leases held and callers waiting; the machines run on', async () => {
    await open();
    const lease = await acquire('s');
    const waiting = acquire('s');
    waiting.catch(() => undefined);
    await fixture.reopen();
    await expect(waiting).rejects.toThrow(code('Cancelled'));
    await expect(lease.exec('true')).rejects.toThrow(code('LeaseReleased'));
    expect(await status('s')).toBe('active');
    expect(fixture.mended).toEqual([]);
    expect(await use('s')).toMatchObject({ exitCode: 0 });
    expect(calls('create')).toHaveLength(1);
  });
});

describe('the life of a session', () => {
  test('goes on where it was left: files, and memory of a suspended one', async () => {
    await open();
    await use('s', 'append notes one && remember key value');
    await fixture.sessions.stop('s');
    expect(await status('s')).toBe('stopped');
    expect((await use('s', 'cat notes && recall key')).stdout).toBe('one\nvalue');
    expect((await fixture.sessions.metrics()).counts).toMatchObject({ made: 1, stops: 1, resumes: 1 });
  });

  test('keeps only the disk with stop mode shutdown', async () => {
    await open({ stopMode: 'shutdown' });
    await use('s', 'append notes one && remember key value');
    await fixture.sessions.stop('s');
    expect((await use('s', 'cat notes && recall key')).stdout).toBe('one\n');
  });

  test('idle for so long is stopped, not before', async () => {
    await open();
    await note('s', 'one');
    await fixture.clock.advance(15 * minute - 1);
    await fixture.sessions.runMaintenanceNow();
    expect(await status('s')).toBe('active');
    await fixture.clock.advance(1);
    expect(await fixture.sessions.runMaintenanceNow()).toMatchObject({ stopped: ['s'], failed: [] });
    expect(await status('s')).toBe('stopped');
  });

  test('maintenance runs by itself', async () => {
    await open();
    await note('s', 'one');
    await fixture.clock.advance(16 * minute);
    await expect.poll(() => status('s')).toBe('stopped');
  });

  test('idle begins when the last lease is given back', async () => {
    await open();
    const lease = await acquire('s');
    await fixture.clock.advance(hour);
    await fixture.sessions.runMaintenanceNow();
    expect(await status('s')).toBe('active');
    await lease.release();
    await fixture.sessions.runMaintenanceNow();
    expect(await status('s')).toBe('active');
  });

  test('stopped for so long is removed, counted from the stop', async () => {
    await open();
    await note('s', 'one');
    await fixture.clock.advance(5 * minute);
    await fixture.sessions.stop('s');
    await fixture.clock.advance(hour - 1);
    expect((await fixture.sessions.runMaintenanceNow()).pruned).toEqual([]);
    await fixture.clock.advance(1);
    await expect.poll(() => fixture.machines()).toEqual([]);
    expect(await status('s')).toBeUndefined();
    expect((await use('s', 'cat notes')).exitCode).toBe(1);
  });

  test('removed comes back from its newest backup', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    await fixture.sessions.stop('s');
    await fixture.clock.advance(hour);
    await expect.poll(() => status('s')).toBe('removed');
    await expect.poll(() => fixture.machines()).toEqual([]); // It goes after its row.
    expect(await fixture.sessions.inspect('s')).toMatchObject({ state: 'backed up', backups: [{}] });
    expect(await notes('s')).toBe('one\n');
    expect((await fixture.sessions.metrics()).counts).toMatchObject({ restored: 1, prunes: 1 });
  });

  test('is backed up after so long, still stopped', async () => {
    await open({ backupAfterMs: 10 * minute }, 'yes');
    await note('s', 'one');
    await fixture.sessions.stop('s');
    await fixture.clock.advance(10 * minute - 1);
    expect((await fixture.sessions.runMaintenanceNow()).backedUp).toEqual([]);
    await fixture.clock.advance(1);
    await expect.poll(() => fixture.place.kept.length).toBe(1);
    await fixture.sessions.runMaintenanceNow();
    expect(await fixture.sessions.inspect('s')).toMatchObject({ status: 'stopped', state: 'backed up' });
    expect(fixture.place.kept).toHaveLength(1);
  });

  test('whose machine is gone is lost, and not empty, until a restore', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    await fixture.sessions.backup('s');
    const [machine] = await fixture.machines();
    await fixture.vm.runtime.destroy(machine?.id ?? '');
    await expect(acquire('s')).rejects.toThrow(code('SessionLost'));
    expect(await status('s')).toBe('lost');
    await fixture.reopen();
    await expect(acquire('s')).rejects.toThrow(code('SessionLost'));
    await fixture.sessions.restore('s');
    expect(await notes('s')).toBe('one\n');
  });

  test('whose machine died by itself says why, and is started again', async () => {
    await open();
    await use('s', 'append notes one && sync');
    const [machine] = await fixture.machines();
    fixture.vm.backend.dieByItself(machine?.id ?? '', 'killed by somebody');
    await expect.poll(() => status('s')).toBe('stopped');
    expect(await fixture.sessions.inspect('s')).toMatchObject({ reason: 'killed by somebody' });
    expect(await notes('s')).toBe('one\n');
  });

  test('ends with terminate; its id begins anew, or from its newest backup', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    await fixture.sessions.backup('s');
    await note('s', 'two');
    await fixture.sessions.terminate('s');
    expect(await fixture.sessions.list()).toEqual([]);
    expect(await notes('s')).toBe('one\n');
    await fixture.sessions.terminate('s', { backups: 'remove' });
    expect(fixture.place.kept).toEqual([]);
    expect((await use('s', 'cat notes')).exitCode).toBe(1);
  });

  test('terminated while it is backed up leaves no backup when none may stay', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    const held = fixture.place.hold();
    const backup = fixture.sessions.backup('s');
    backup.catch(() => undefined);
    await held.reached;
    await fixture.sessions.terminate('s', { backups: 'remove' });
    held.release();
    await expect(backup).rejects.toThrow(code('Cancelled'));
    expect(fixture.place.kept).toEqual([]);
    expect((await use('s', 'cat notes')).exitCode).toBe(1);
  });
});

describe('places', () => {
  test('when all are taken by leases, the caller is told at once, or after its time', async () => {
    await open({ maxVms: 2 });
    const leases = [await acquire('a'), await acquire('b')];
    await expect(acquire('c')).rejects.toThrow('VM pool is at capacity (2 sessions)');
    const waiting = acquire('c', { waitMs: 1000 });
    waiting.catch(() => undefined);
    await settled();
    await fixture.clock.advance(1000);
    await expect(waiting).rejects.toThrow(code('AtCapacity'));
    for (const lease of leases) await lease.release();
    expect((await fixture.sessions.metrics()).counts.atCapacity).toBe(2);
  });

  test('the session that has been stopped longest makes room', async () => {
    await open({}, 'yes');
    for (const id of ['a', 'b', 'c']) await note(id, id);
    for (const id of ['b', 'a', 'c']) {
      await fixture.sessions.stop(id);
      await fixture.clock.advance(1000);
    }
    await note('d', 'd');
    expect(await Promise.all(['a', 'b', 'c', 'd'].map(status))).toEqual([
      'stopped',
      'removed',
      'stopped',
      'active',
    ]);
    expect(await notes('b')).toBe('b\n');
  });

  test('an idle one is stopped first only when that is configured', async () => {
    await open({ maxVms: 2 }, 'yes');
    await note('a', 'a');
    await fixture.clock.advance(1000);
    await note('b', 'b');
    await expect(acquire('c')).rejects.toThrow(code('AtCapacity'));
    await fixture.reopen({ options: { maxVms: 2, stopIdleForRoom: 'yes' } });
    await note('c', 'c');
    expect(await Promise.all(['a', 'b', 'c'].map(status))).toEqual(['removed', 'active', 'active']);
  });

  test('are not made by a session in which a detached command runs', async () => {
    await open({ maxVms: 1, stopIdleForRoom: 'yes' });
    const lease = await acquire('a');
    await lease.spawn('sleep 600 && append notes done', { detachedId: 'd' });
    await lease.release();
    await expect(acquire('b')).rejects.toThrow(code('AtCapacity'));
    expect(await status('a')).toBe('active');
    await fixture.clock.advance(600_000);
    expect(await notes('a')).toBe('done\n');
  });

  test.for(
    (['yes', 'no'] as const).flatMap((backups) =>
      [0, 1, 2, 3, 4, 5, 6].map((look) => [look, backups] as const),
    ),
  )(
    'are not made by a session that is acquired while it is looked at (%i looks later, backups: %s)',
    async ([look, backups]) => {
      let left = Number.POSITIVE_INFINITY;
      let acquired: Promise<Lease> | undefined;
      const tell = (call: string) => {
        if (call === 'get' && left-- === 0) acquired = acquire('s', { waitMs: hour });
        return undefined;
      };
      fixture = await openSessionsFixture({ backups, tell });
      await note('s', 'one');
      await fixture.sessions.stop('s');
      if (backups === 'yes') await fixture.sessions.backup('s');
      await fixture.clock.advance(hour - minute);
      await fixture.sessions.runMaintenanceNow();
      left = look;
      await fixture.clock.advance(minute);
      await fixture.sessions.runMaintenanceNow();
      await using lease = await (acquired ?? acquire('s'));
      await fixture.sessions.runMaintenanceNow();
      const { stdout } = await lease.exec('cat notes');
      if (backups === 'yes') expect(stdout).toBe('one\n');
      expect(await fixture.machines()).toMatchObject([{ id: lease.vm.id, status: 'running' }]);
    },
  );

  test('who waits gets the place of a session that becomes idle', async () => {
    await open({ maxVms: 1 });
    await note('a', 'a');
    const waiting = acquire('b', { waitMs: hour });
    await fixture.clock.advance(16 * minute);
    await (await waiting).release();
    expect(await status('a')).toBeUndefined();
  });

  test('who waits gets the place of a stopped session whose next user could not be served', async () => {
    await open({ maxVms: 1 });
    await note('a', 'a');
    await fixture.sessions.stop('a');
    const hung = fixture.vm.backend.hang('start.begin');
    const abort = new AbortController();
    const failing = acquire('a', { signal: abort.signal });
    failing.catch(() => undefined);
    await hung.reached;
    const waiting = acquire('b', { waitMs: 1000 });
    await settled();
    abort.abort();
    await expect(failing).rejects.toThrow(code('Cancelled'));
    await (await waiting).release();
  });

  test('are not made by a session that was used since it was looked at', async () => {
    await open({ maxVms: 2 }, 'yes');
    for (const id of ['a', 'b']) {
      await note(id, id);
      await fixture.sessions.stop(id);
      await fixture.clock.advance(1000);
    }
    const held = fixture.place.hold();
    fixture.place.failures.push(new Error('full'));
    const waiting = acquire('c');
    waiting.catch(() => undefined);
    await held.reached;
    await note('b', 'again');
    held.release();
    await expect(waiting).rejects.toThrow(code('AtCapacity'));
    expect(await status('b')).toBe('active');
  });

  test('are waited for in order', async () => {
    await open({ maxVms: 1 });
    const first = await acquire('a');
    const order: string[] = [];
    const waiting = ['b', 'c', 'd'].map(async (id) => {
      const lease = await acquire(id, { waitMs: hour });
      order.push(id);
      await lease.release();
      await fixture.sessions.stop(id);
    });
    await settled();
    await first.release();
    await fixture.sessions.stop('a');
    await Promise.all(waiting);
    expect(order).toEqual(['b', 'c', 'd']);
  });

  test('shared leases wait as long as each of them said', async () => {
    await open({ maxVms: 1 });
    const first = await acquire('a');
    const patient = acquire('b', { mode: 'shared', waitMs: hour });
    await settled();
    const impatient = acquire('b', { mode: 'shared', waitMs: 1000 });
    impatient.catch(() => undefined);
    await fixture.clock.advance(1000);
    await expect(impatient).rejects.toThrow(code('SessionBusy'));
    expect(await fixture.sessions.tryAcquire('b', { mode: 'shared' })).toBeUndefined();
    await first.release();
    await fixture.sessions.stop('a');
    await (await patient).release();
  });

  test('a patient caller is not sent away with an impatient one that asked before it', async () => {
    await open({ maxVms: 1 }, 'yes');
    await note('a', 'a');
    await fixture.sessions.stop('a');
    const held = fixture.place.hold();
    fixture.place.failures.push(new Error('full'));
    const impatient = acquire('b', { mode: 'shared' });
    impatient.catch(() => undefined);
    await held.reached;
    const patient = acquire('b', { mode: 'shared', waitMs: hour });
    await settled();
    held.release();
    await expect(impatient).rejects.toThrow(code('AtCapacity'));
    await fixture.clock.advance(5 * minute);
    await (await patient).release();
  });

  test('who waits behind a stop gets a machine that runs', async () => {
    await open();
    await note('s', 'one');
    const hung = fixture.vm.backend.hang('stop.middle');
    await fixture.clock.advance(15 * minute);
    await hung.reached;
    const waiting = acquire('s');
    await settled();
    expect(await fixture.sessions.metrics()).toMatchObject({ waiting: { turn: 1 } });
    hung.release();
    await using lease = await waiting;
    expect((await lease.exec('cat notes')).stdout).toBe('one\n');
  });

  test('a machine that could not be destroyed keeps its place until it is', async () => {
    await open({ maxVms: 1 });
    await note('a', 'a');
    fixture.vm.backend.fail('destroy.begin', new Error('planned'));
    await fixture.sessions.terminate('a');
    expect(fixture.warnings).toHaveLength(1);
    await expect(acquire('b')).rejects.toThrow(code('AtCapacity'));
    await fixture.reopen();
    await note('b', 'b');
    expect(await fixture.machines()).toHaveLength(1);
  });
});

describe('the bootstrap command', () => {
  const bootstrapCommand = ['bootstrap', 'now'] as const;

  test('runs once for concurrent first acquires, in the workdir, and its output is kept', async () => {
    await open({ bootstrapCommand, env: { MODE: 'test' } });
    fixture.vm.backend.script('bootstrap now', async (run) => {
      run.files.append('/work/made', `in ${run.cwd} with ${run.env.MODE}\n`);
      await run.print('made it');
      await run.printError('slowly');
      return 0;
    });
    const leases = Array.from({ length: 5 }, (_, index) =>
      acquire('s', { mode: index < 3 ? 'shared' : 'exclusive' }).then((lease) => lease.release()),
    );
    await Promise.all(leases);
    await fixture.sessions.stop('s');
    expect((await use('s', 'cat made')).stdout).toBe('in /work with test\n');
    expect(await fixture.sessions.inspect('s')).toMatchObject({
      bootstrap: { command: bootstrapCommand, stdout: 'made it', stderr: 'slowly' },
    });
    expect(calls('exec').filter(({ about }) => about === 'bootstrap now')).toHaveLength(1);
  });

  test('that fails is told with its output, and the next acquire starts from a clean machine', async () => {
    await open({ bootstrapCommand });
    let runs = 0;
    fixture.vm.backend.script('bootstrap now', async (run) => {
      await run.print(run.files.exists('/work/half') ? 'left over' : 'clean');
      await run.printError('no network\n');
      run.files.write('/work/half', 'x');
      return ++runs === 1 ? 7 : 0;
    });
    await expect(acquire('s')).rejects.toMatchObject({
      code: 'BootstrapFailed',
      message: 'Bootstrap command bootstrap now exited with 7\nclean\nno network',
      details: { sessionId: 's', exitCode: 7, stdout: 'clean', stderr: 'no network\n' },
    });
    expect(await fixture.machines()).toEqual([]);
    expect(await fixture.sessions.list()).toEqual([]);
    expect((await fixture.sessions.metrics()).places.taken).toBe(0);
    await note('s', 'one');
    expect(await fixture.sessions.inspect('s')).toMatchObject({ bootstrap: { stdout: 'clean' } });
  });

  test('that takes too long is ended, and told with what it had printed', async () => {
    await open({ bootstrapCommand, bootstrapTimeoutMs: minute });
    fixture.vm.backend.script('bootstrap now', { stdout: 'downloading', hang: 'until-killed' });
    const acquired = acquire('s');
    acquired.catch(() => undefined);
    await fixture.clock.whenWaiting(3);
    await settled();
    await fixture.clock.advance(minute);
    await expect(acquired).rejects.toMatchObject({
      code: 'BootstrapFailed',
      message: expect.stringMatching(/took longer than 60000 ms\ndownloading$/),
    });
    expect(await fixture.machines()).toEqual([]);
  });

  test('that there is no program of is told', async () => {
    await open({ bootstrapCommand });
    await expect(acquire('s')).rejects.toThrow(code('BootstrapFailed'));
    expect(await fixture.machines()).toEqual([]);
  });

  test('runs in the machine made anew from a backup, before the backup is unpacked there', async () => {
    await open({ bootstrapCommand }, 'yes');
    let runs = 0;
    fixture.vm.backend.script('bootstrap now', (run) => {
      run.files.append('/root/tool', `${++runs}\n`);
      run.files.append('/work/made', `${runs}\n`);
      return 0;
    });
    await note('s', 'one');
    await fixture.sessions.stop('s');
    await fixture.clock.advance(hour);
    await expect.poll(() => status('s')).toBe('removed');
    expect((await use('s', 'cat /root/tool && cat made && cat notes')).stdout).toBe('2\n1\none\n');
  });

  test.for(['make.bootstrapped', 'make.recorded'] as const)(
    'is not run twice in a machine when the engine dies at %s',
    async (step) => {
      await open({ bootstrapCommand });
      const ran: string[] = [];
      fixture.vm.backend.script('bootstrap now', (run) => {
        ran.push(run.vmId);
        return 0;
      });
      const reached = fixture.standAt(step);
      void acquire('s');
      await reached;
      await fixture.crash();
      await note('s', 'one');
      expect(new Set(ran).size).toBe(ran.length);
      expect(ran).toHaveLength(step === 'make.recorded' ? 1 : 2);
      expect(await fixture.machines()).toHaveLength(1);
    },
  );
});

describe('a backup', () => {
  test('of a session in use is what it was at one instant, and the session does not wait', async () => {
    await open({}, 'yes');
    await using lease = await acquire('s');
    await lease.exec('append notes one');
    const held = fixture.place.hold();
    const backup = fixture.sessions.backup('s');
    await held.reached;
    await lease.exec('append notes two');
    held.release();
    expect(await fixture.place.read((await backup).name, 'notes')).toBe('one\n');
    expect(await fixture.sessions.inspect('s')).toMatchObject({ state: 'not backed up' });
    expect(await fixture.vm.runtime.snapshots.list()).toEqual([]);
    expect(await fixture.vm.runtime.list({ destroyed: 'leave-out' })).toHaveLength(1);
  });

  test('has what was reported before it was asked for, also while another is being made', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    const held = fixture.place.hold();
    const first = fixture.sessions.backup('s');
    await held.reached;
    await note('s', 'two');
    const second = fixture.sessions.backup('s');
    await settled();
    held.release();
    await first;
    expect(await fixture.place.read((await second).name, 'notes')).toBe('one\ntwo\n');
  });

  test('that is asked for twice at once is made once', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    const [one, two] = await Promise.all([fixture.sessions.backup('s'), fixture.sessions.backup('s')]);
    expect(one).toEqual(two);
    expect(fixture.place.writes).toEqual(['s']);
  });

  test('of a stopped session makes it clean; use makes it dirty again, and the next stop backs it up again', async () => {
    await open({ backupAfterMs: minute }, 'yes');
    const state = async () => (await fixture.sessions.inspect('s')).state;
    await note('s', 'one');
    await fixture.sessions.stop('s');
    await fixture.sessions.backup('s');
    expect(await state()).toBe('backed up');
    await note('s', 'two');
    expect(await state()).toBe('not backed up');
    await fixture.sessions.stop('s');
    expect(await state()).toBe('not backed up');
    await fixture.clock.advance(2 * minute);
    await expect.poll(state).toBe('backed up');
    expect(await fixture.place.read((await fixture.sessions.inspect('s')).newestBackup ?? '', 'notes')).toBe(
      'one\ntwo\n',
    );
  });

  test('that failed is tried again later and later, is shown, and keeps the machine', async () => {
    await open({ maxVms: 1 }, 'yes');
    await note('s', 'one');
    await fixture.sessions.stop('s');
    fixture.place.failures.push(...Array.from({ length: 4 }, () => new Error('disk full')));
    await fixture.clock.advance(hour);
    const failed = async () => (await fixture.sessions.inspect('s')).failedBackup;
    await expect.poll(async () => (await failed())?.attempts).toBe(1);
    const first = await failed();
    expect(first).toMatchObject({ message: 'disk full', nextAttemptAtMs: (first?.atMs ?? 0) + minute });
    await expect(acquire('other')).rejects.toThrow(code('AtCapacity'));
    expect(fixture.place.writes).toHaveLength(1);
    for (const [attempts, waitMs] of [
      [2, minute],
      [3, 2 * minute],
      [4, 4 * minute],
    ] as const) {
      await fixture.clock.advance(waitMs - 1);
      await fixture.sessions.runMaintenanceNow();
      expect((await failed())?.attempts).toBe(attempts - 1);
      await fixture.clock.advance(1);
      await fixture.sessions.runMaintenanceNow();
      expect((await failed())?.attempts).toBe(attempts);
      expect(await status('s')).toBe('stopped');
    }
    expect((await fixture.sessions.metrics()).counts.backupsFailed).toBe(4);
    await fixture.clock.advance(8 * minute);
    await expect.poll(() => status('s')).toBe('removed');
    expect(await failed()).toBeUndefined();
    expect(await notes('s')).toBe('one\n');
  });

  test('fails while its destination is gone, and is made when that is back', async () => {
    await open({ maxVms: 1 }, 'yes');
    await note('s', 'one');
    await fixture.sessions.stop('s');
    fixture.place.state = 'gone';
    await fixture.clock.advance(hour);
    const inspect = () => fixture.sessions.inspect('s');
    await expect.poll(inspect).toMatchObject({
      status: 'stopped',
      failedBackup: { attempts: 1 },
      backupsUnreadable: 'cannot read /backups',
    });
    await expect(acquire('other')).rejects.toThrow(code('BackupFailed'));
    fixture.place.state = 'mounted';
    await fixture.clock.advance(2 * minute);
    await expect.poll(() => status('s')).toBe('removed');
    expect(await notes('s')).toBe('one\n');
  });

  test('is made also where half-made ones could not be removed', async () => {
    await open({ maxVms: 1 }, 'yes');
    await note('s', 'one');
    await fixture.sessions.stop('s');
    fixture.place.sweepFailures.push(new Error('of the disk'));
    await note('other', 'two');
    expect(fixture.warnings).toEqual(['could not remove half-made backups: of the disk']);
    expect(await status('s')).toBe('removed');
  });

  test('keeps so many of each session', async () => {
    await open({ backupKeep: 2 }, 'yes');
    for (const text of ['one', 'two', 'three']) {
      await note('s', text);
      await fixture.sessions.backup('s');
      await fixture.clock.advance(2000);
    }
    const { backups } = await fixture.sessions.inspect('s');
    expect(backups).toHaveLength(2);
    expect(await fixture.place.read(backups[0]?.name ?? '', 'notes')).toBe('one\ntwo\nthree\n');
  });

  test('is kept when it is the newest, also when the clock was set back before it', async () => {
    await open({ backupKeep: 1 }, 'yes');
    await note('s', 'one');
    await fixture.sessions.backup('s');
    fixture.clock.set(-hour);
    await note('s', 'two');
    await fixture.sessions.stop('s');
    const { name } = await fixture.sessions.backup('s');
    expect(fixture.place.kept.map(({ info }) => info.name)).toEqual([name]);
    await fixture.clock.advance(hour);
    await expect.poll(() => status('s')).toBe('removed');
    expect(await notes('s')).toBe('one\ntwo\n');
  });

  test('that somebody took away is made again before the machine goes', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    await fixture.sessions.stop('s');
    fixture.place.drop((await fixture.sessions.backup('s')).name);
    await fixture.clock.advance(hour);
    await expect
      .poll(async () => {
        await fixture.sessions.runMaintenanceNow();
        return status('s');
      })
      .toBe('removed');
    expect(await notes('s')).toBe('one\n');
  });

  test('that is all that is left of a session is not removed', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    await fixture.sessions.stop('s');
    const { name } = await fixture.sessions.backup('s');
    await fixture.clock.advance(hour);
    await expect.poll(() => status('s')).toBe('removed');
    await expect(fixture.sessions.backups.remove(name)).rejects.toThrow(code('BackupInUse'));
    expect(await notes('s')).toBe('one\n');
  });

  test('that is removed in the instant its session is pruned is not all that is left', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    await fixture.sessions.stop('s');
    const { name } = await fixture.sessions.backup('s');
    let removed: Promise<void> | undefined;
    fixture.place.onFound = () => {
      removed ??= fixture.sessions.backups.remove(name);
    };
    await fixture.clock.advance(hour);
    await expect.poll(() => removed !== undefined).toBe(true);
    await removed;
    await fixture.sessions.runMaintenanceNow();
    expect(await notes('s')).toBe('one\n');
  });

  test('of a machine that was terminated meanwhile does not make the next one clean', async () => {
    await open({}, 'yes');
    await note('s', 'old');
    await fixture.sessions.stop('s');
    const held = fixture.place.hold();
    const backup = fixture.sessions.backup('s').catch(() => undefined);
    await held.reached;
    await fixture.sessions.terminate('s');
    await note('s', 'new');
    await fixture.sessions.stop('s');
    held.release();
    await backup;
    await fixture.clock.advance(hour);
    await expect.poll(() => status('s')).toBe('removed');
    expect(await notes('s')).toBe('new\n');
  });
});

describe('a restore', () => {
  test('gives a session the workdir of its newest backup, or of the one that is named', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    const first = await fixture.sessions.backup('s');
    await fixture.clock.advance(1000);
    await note('s', 'two');
    await fixture.sessions.backup('s');
    await note('s', 'three');
    await fixture.sessions.restore('s');
    expect(await notes('s')).toBe('one\ntwo\n');
    await fixture.sessions.restore('s', { from: first.name });
    expect(await notes('s')).toBe('one\n');
    expect(await fixture.machines()).toHaveLength(1);
    expect((await fixture.sessions.metrics()).places.taken).toBe(1);
  });

  test('of a file makes a new session', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    const { path } = await fixture.sessions.backup('s');
    expect(await fixture.sessions.restore('copy', { from: path })).toMatchObject({
      id: 'copy',
      status: 'active',
      state: 'not backed up',
    });
    expect(await notes('copy')).toBe('one\n');
  });

  test('of an archive that is not what was written replaces nothing', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    const { name } = await fixture.sessions.backup('s');
    await note('s', 'two');
    fixture.place.find(name)?.tar.fill(1, 0, 10);
    await expect(fixture.sessions.restore('s')).rejects.toThrow(code('BackupInvalid'));
    expect(await notes('s')).toBe('one\ntwo\n');
    expect(await fixture.machines()).toHaveLength(1);
  });

  test('that fails midway replaces nothing', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    await fixture.sessions.backup('s');
    await note('s', 'two');
    fixture.vm.backend.fail('start.middle', new Error('planned'));
    await expect(fixture.sessions.restore('s')).rejects.toThrow('planned');
    expect(await notes('s')).toBe('one\ntwo\n');
    expect(await fixture.machines()).toHaveLength(1);
    expect((await fixture.sessions.metrics()).places.taken).toBe(1);
  });

  test('takes a place beside the old machine', async () => {
    await open({ maxVms: 1 }, 'yes');
    await note('s', 'one');
    await fixture.sessions.backup('s');
    await expect(fixture.sessions.restore('s')).rejects.toThrow(code('AtCapacity'));
    expect(await notes('s')).toBe('one\n');
  });

  test('while a backup of the old machine is made leaves the new one to be backed up', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    const { name } = await fixture.sessions.backup('s');
    await note('s', 'two');
    await fixture.sessions.stop('s');
    const held = fixture.place.hold();
    const backup = fixture.sessions.backup('s');
    await held.reached;
    await fixture.sessions.restore('s', { from: name });
    held.release();
    expect(await fixture.place.read((await backup).name, 'notes')).toBe('one\ntwo\n');
    expect(await fixture.sessions.inspect('s')).toMatchObject({ newestBackup: name, state: 'not backed up' });
    await fixture.sessions.stop('s');
    await fixture.clock.advance(hour);
    await expect.poll(() => status('s')).toBe('removed');
    expect(await notes('s')).toBe('one\n');
  });

  test('of what there is no backup of says so', async () => {
    await open({}, 'yes');
    await note('s', 'one');
    await expect(fixture.sessions.restore('s')).rejects.toThrow(code('BackupNotFound'));
    await expect(fixture.sessions.restore('s', { from: 'x' })).rejects.toThrow(code('BackupNotFound'));
  });
});
