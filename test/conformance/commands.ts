import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import { lines } from './guest-lines.ts';
import { expectRefusal, type Suite } from './harness.ts';

const vm = 'commands';

/** Commands in a guest. One boot. */
export function describeCommands(suite: Suite): void {
  const count = async (line: string) => Number((await suite.run(vm, line)).trim());

  /** Runs a line that says `up`, and waits for that. */
  async function untilUp(options: {
    command: string;
    timeoutMs?: number;
    graceMs?: number;
    signal?: AbortSignal;
  }) {
    const up = Promise.withResolvers<void>();
    const running = suite.runtime.exec(vm, { ...options, onStdout: () => up.resolve() });
    await Promise.race([up.promise, running]);
    return { running };
  }

  describe('commands', () => {
    beforeAll(async () => {
      await suite.boot(vm, { env: { A: 'vm', B: 'vm' } });
    });
    afterAll(async () => suite.runtime.destroy(vm));

    test('the exit code is a value, and the streams come apart', async () => {
      expect(await suite.runtime.exec(vm, { command: lines.bothStreams })).toMatchObject({
        exitCode: 3,
        stdout: 'out\n',
        stderr: 'err\n',
        truncated: false,
        droppedBytes: 0,
      });
    });

    test('a command ended by a signal says by which', async () => {
      expect(await suite.runtime.exec(vm, { command: lines.killItself })).toMatchObject({
        exitCode: 137,
        signal: 'SIGKILL',
      });
    });

    test('a program that is not there does not start', async () => {
      await expectRefusal(suite.runtime.exec(vm, { command: ['/no/such/program'] }), 'CommandNotStarted');
    });

    test('the environment of the request goes over that of the VM', async () => {
      const request = { command: lines.variables, env: { B: 'request', C: 'request' } };
      expect((await suite.runtime.exec(vm, request)).stdout).toBe('vm request request\n');
    });

    test('directory and user are those asked for', async () => {
      expect((await suite.runtime.exec(vm, { command: lines.directory, cwd: '/tmp' })).stdout).toBe('/tmp\n');
      expect((await suite.runtime.exec(vm, { command: lines.userId, user: '1234' })).stdout).toBe('1234\n');
      await expectRefusal(
        suite.runtime.exec(vm, { command: lines.directory, cwd: '/nowhere' }),
        'CommandNotStarted',
      );
    });

    test('input reaches the command, and its end does', async () => {
      const input = 'first\nsecond\n';
      expect((await suite.runtime.exec(vm, { command: lines.copyInput, input })).stdout).toBe(input);
      expect((await suite.runtime.exec(vm, { command: lines.copyInput })).stdout).toBe('');
    });

    test('a terminal has the size asked for', async () => {
      const { stdout } = await suite.runtime.exec(vm, {
        command: lines.terminalSize,
        pty: { rows: 41, columns: 132 },
      });
      expect(stdout.trim()).toBe('41 132');
    });

    test('output beyond the cap is dropped and counted', async () => {
      const result = await suite.runtime.exec(vm, { command: lines.flood, maxOutputBytes: 10_000 });
      expect(result).toMatchObject({ exitCode: 0, truncated: true });
      expect(result.stdout.length).toBeLessThan(10_200);
      expect(result.droppedBytes).toBeGreaterThan(3_900_000);
      expect(result.stdout.startsWith('0123456\n')).toBe(true);
    });

    test.for(['tree', 'stubbornTree'] as const)(
      'at its deadline nothing of a command lives on (%s)',
      async (name) => {
        const { running } = await untilUp({ command: lines[name], timeoutMs: 1500, graceMs: 500 });
        const ended = running.catch((error: unknown) => error);
        expect(await count(lines.countTree)).toBe(2);
        await suite.harness.passTime?.(2500);
        const error = await ended;
        expect(error).toBeInstanceOf(AlcoveError);
        expect(error).toMatchObject({ code: 'CommandTimedOut', details: { timeoutMs: 1500 } });
        expect(Buffer.from((error as AlcoveError<'CommandTimedOut'>).details?.stdout ?? []).toString()).toBe(
          'up\n',
        );
        expect(await count(lines.countTree)).toBe(0);
      },
    );

    test('a cancelled command is gone with its tree', async () => {
      const controller = new AbortController();
      const { running } = await untilUp({ command: lines.tree, signal: controller.signal });
      const refused = expectRefusal(running, 'Cancelled');
      controller.abort(new Error('enough'));
      await refused;
      expect(await count(lines.countTree)).toBe(0);
    });

    test('what a command leaves in the background ends with it, unless asked to stay', async () => {
      await suite.runtime.exec(vm, { command: lines.background });
      expect(await count(lines.countBackground)).toBe(0);
      const kept = suite.runtime.exec(vm, { command: lines.background, background: 'keep' });
      await suite.harness.passTime?.(1000);
      expect(await kept).toMatchObject({ exitCode: 0, stdout: 'left\n' });
      expect(await count(lines.countBackground)).toBe(1);
    });

    test('commands run side by side', async () => {
      const { running } = await untilUp({ command: lines.tree, timeoutMs: 60_000 });
      running.catch(() => undefined);
      const inputs = ['a', 'b', 'c', 'd'];
      const results = await Promise.all(
        inputs.map((input) => suite.runtime.exec(vm, { command: lines.copyInput, input })),
      );
      expect(results.map(({ stdout }) => stdout)).toEqual(inputs);
    });

    test('a detached command goes on without its client, and can be attached to', async () => {
      const request = { command: lines.repeatAndWait, stdin: 'pipe', detachedId: 'waiter' } as const;
      await (await suite.runtime.spawn(vm, request))[Symbol.asyncDispose]();
      await using again = await suite.runtime.attach(vm, 'waiter');
      await again.stdin.write(Buffer.from('still here\n'));
      let seen = '';
      for await (const chunk of again.stdout) {
        seen += Buffer.from(chunk).toString();
        if (seen.includes('still here\n')) break;
      }
      await again.kill('SIGTERM');
      expect(await again.exited).toMatchObject({ signal: 'SIGTERM' });
      const channel = await suite.runtime.guest(vm);
      expect(await channel.listDetached()).toContainEqual(
        expect.objectContaining({ id: 'waiter', exit: expect.objectContaining({ signal: 'SIGTERM' }) }),
      );
      await expectRefusal(suite.runtime.attach(vm, 'nobody'), 'CommandNotFound');
    });

    test('a VM that does not run takes no commands', async () => {
      await suite.create('asleep');
      await expectRefusal(suite.runtime.exec('asleep', { command: lines.directory }), 'GuestUnreachable');
      await suite.runtime.destroy('asleep');
      await expectRefusal(suite.runtime.exec('nobody', { command: lines.directory }), 'VmNotFound');
    });
  });
}
