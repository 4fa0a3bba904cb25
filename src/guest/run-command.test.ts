import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../../test/guest/manual-clock.ts';
import { AlcoveError, cancelled } from '../errors.ts';
import type { CallOptions, ExecExit, ExecRequest, GuestProcess } from './guest-channel.ts';
import { runCommand } from './run-command.ts';
import type { RunOptions } from './run-options.ts';

const success: ExecExit = { exitCode: 0, timedOut: false, durationMs: 5, droppedBytes: 0 };

/** A guest with one command, which does what the test says. */
class ScriptedGuest {
  request: ExecRequest | undefined;
  readonly written: string[] = [];
  inputEnded = false;
  /** Whether an abort is confirmed, as a guest that still answers does. */
  confirms = true;
  stdout: AsyncIterable<Uint8Array> = chunks();
  stderr: AsyncIterable<Uint8Array> = chunks();
  readonly #exit = Promise.withResolvers<ExecExit>();

  async exec(request: ExecRequest, options: CallOptions = {}): Promise<GuestProcess> {
    this.request = request;
    const { signal } = options;
    signal?.addEventListener('abort', () => {
      if (this.confirms) this.#exit.reject(cancelled('the command', signal));
      else this.#exit.reject(new AlcoveError('GuestUnreachable', 'the guest did not confirm'));
    });
    return {
      pid: 1,
      stdout: this.stdout,
      stderr: this.stderr,
      stdin: {
        write: async (chunk) => {
          this.written.push(String(chunk));
        },
        end: async () => {
          this.inputEnded = true;
        },
      },
      exited: this.#exit.promise,
      kill: async () => {},
      resize: async () => {},
      async [Symbol.asyncDispose]() {},
    };
  }

  exit(exit: Partial<ExecExit> = {}): void {
    this.#exit.resolve({ ...success, ...exit });
  }
}

async function* chunks(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

/** Brings nothing, until it is let go of. */
function silent(): AsyncIterable<Uint8Array> & { letGo: boolean } {
  const stream = {
    letGo: false,
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise<never>(() => {}),
      return: async () => {
        stream.letGo = true;
        return { done: true as const, value: undefined };
      },
    }),
  };
  return stream;
}

let guest: ScriptedGuest;
let clock: ManualClock;

beforeEach(() => {
  guest = new ScriptedGuest();
  clock = new ManualClock();
});

afterEach(() => expect(clock.waiting).toBe(0));

const run = (options: Omit<RunOptions, 'command'> = {}) =>
  runCommand(guest, { command: ['tool', 'arg'], ...options }, { clock });

const failure = (code: string, details?: object) =>
  expect.objectContaining({ code, ...(details && { details: expect.objectContaining(details) }) });

describe('the result', () => {
  test('has the exit and what was printed', async () => {
    guest.stdout = chunks('out', 'put');
    guest.stderr = chunks('err');
    guest.exit({ exitCode: 3 });
    expect(await run()).toEqual({
      exitCode: 3,
      stdout: 'output',
      stderr: 'err',
      truncated: false,
      droppedBytes: 0,
      durationMs: 5,
    });
  });

  test('counts what was left out, on the host and in the guest', async () => {
    guest.stdout = chunks('0123456789');
    guest.exit({ droppedBytes: 7 });
    expect(await run({ maxOutputBytes: 4 })).toMatchObject({
      stdout: '01\n… 6 bytes left out …\n89',
      truncated: true,
      droppedBytes: 13,
    });
  });

  test('replaces bytes that are no text', async () => {
    guest.stdout = (async function* () {
      yield Uint8Array.of(0x61, 0xff);
    })();
    guest.exit();
    expect(await run()).toMatchObject({ stdout: 'a�' });
  });

  test.each([[-1], [1.5], [Number.NaN]])('cannot be capped at %d bytes', async (maxOutputBytes) => {
    await expect(run({ maxOutputBytes })).rejects.toThrow(
      failure('InvalidInput', { field: 'maxOutputBytes' }),
    );
  });
});

describe('a command that fails', () => {
  test('is an error when that was asked for, with the last line it said', async () => {
    guest.stderr = chunks('warning\n', 'no such\u001b[1m thing\n\n');
    guest.exit({ exitCode: 2 });
    const error = await run({ nonZeroExit: 'error' }).catch((e) => e);
    expect(error).toEqual(
      failure('CommandFailed', { exitCode: 2, stderr: expect.stringContaining('warning') }),
    );
    expect(error.message).toBe('the command tool arg ended with exit code 2: no such [1m thing');
  });

  test('is an error that names the signal', async () => {
    guest.exit({ exitCode: 137, signal: 'SIGKILL' });
    await expect(run({ nonZeroExit: 'error' })).rejects.toThrow('the command tool arg ended with SIGKILL');
  });

  test('that succeeds is none', async () => {
    guest.exit();
    expect(await run({ nonZeroExit: 'error' })).toMatchObject({ exitCode: 0 });
  });
});

describe('input', () => {
  test.each<[string, RunOptions['input'], string[]]>([
    ['text', 'grüße', ['grüße']],
    ['bytes', Buffer.from('bytes'), ['bytes']],
    ['a stream', chunks('a', 'b'), ['a', 'b']],
  ])('of %s is written and ended', async (_name, input, written) => {
    guest.stdout = (async function* () {
      while (!guest.inputEnded) await new Promise((resolve) => setImmediate(resolve));
      guest.exit();
    })();
    await run({ ...(input !== undefined && { input }) });
    expect(guest).toMatchObject({ request: { stdin: 'pipe' }, written, inputEnded: true });
  });

  test('that is absent is no pipe', async () => {
    guest.exit();
    await run({ stdin: 'pipe' });
    expect(guest.request?.stdin).toBe('none');
  });

  test('that never comes is let go of when the command ends', async () => {
    const input = silent();
    guest.exit();
    await run({ input });
    expect(input.letGo).toBe(true);
  });

  test('that fails ends the command and is the error', async () => {
    const broken = new Error('the disk is gone');
    guest.stdout = chunks('x');
    async function* input() {
      yield Buffer.from('a');
      throw broken;
    }
    await expect(run({ input: input() })).rejects.toBe(broken);
  });
});

describe('sinks', () => {
  test('get every chunk in order, each after the one before was taken', async () => {
    const seen: string[] = [];
    let busy = false;
    guest.stdout = chunks('a', 'b', 'c');
    guest.exit();
    const { stdout } = await run({
      async onStdout(chunk) {
        expect(busy).toBe(false);
        busy = true;
        await new Promise((resolve) => setImmediate(resolve));
        busy = false;
        seen.push(String(chunk));
      },
    });
    expect(seen).toEqual(['a', 'b', 'c']);
    expect(stdout).toBe('abc');
  });

  test('that fail end the command and are the error', async () => {
    const broken = new Error('the client hung up');
    guest.stderr = chunks('x');
    const run_ = run({ onStderr: () => Promise.reject(broken) });
    await expect(run_).rejects.toBe(broken);
  });

  test('that hang hold up neither a cancellation nor a deadline', async () => {
    const hang = () => new Promise<void>(() => {});
    const controller = new AbortController();
    guest.stdout = chunks('x');
    guest.exit();
    const running = run({ onStdout: hang, signal: controller.signal });
    running.catch(() => {});
    await clock.advance(0);
    controller.abort(new Error('enough'));
    await expect(running).rejects.toThrow(failure('Cancelled'));

    guest = new ScriptedGuest();
    guest.stdout = chunks('x');
    guest.exit({ exitCode: 143, timedOut: true });
    const timingOut = run({ onStdout: hang, timeoutMs: 1_000 });
    timingOut.catch(() => {});
    await clock.advance(10_000);
    await expect(timingOut).rejects.toThrow(failure('CommandTimedOut'));
  });
});

describe('a deadline', () => {
  test('that the guest enforced is an error with what was printed before', async () => {
    guest.stdout = chunks('partial');
    guest.exit({ exitCode: 143, timedOut: true });
    const error = await run({ timeoutMs: 1_000 }).catch((e) => e);
    expect(error).toEqual(failure('CommandTimedOut', { timeoutMs: 1_000 }));
    expect(String(error.details.stdout)).toBe('partial');
    expect(error.message).toBe('the command tool arg took longer than 1000 ms');
  });

  test('that the guest misses by seconds is enforced by the host', async () => {
    const running = run({ timeoutMs: 1_000, graceMs: 500 });
    running.catch(() => {});
    await clock.advance(1_000 + 500 + 4_999);
    await clock.advance(1);
    await expect(running).rejects.toThrow(failure('CommandTimedOut'));
  });

  test('that the guest misses, not confirming the end either, leaves the outcome unknown', async () => {
    guest.confirms = false;
    const running = run({ timeoutMs: 1_000 });
    running.catch(() => {});
    await clock.advance(8_000);
    await expect(running).rejects.toThrow(failure('GuestUnreachable'));
  });

  test('of a month does not end the command at once', async () => {
    guest.exit();
    expect(await runCommand(guest, { command: 'x', timeoutMs: 2_592_000_000 })).toMatchObject({
      exitCode: 0,
    });
  });

  test('does not cut short the delivery of output that came in time', async () => {
    let taken = 0;
    guest.stdout = chunks('a', 'b');
    guest.exit();
    const result = await run({
      timeoutMs: 1_000,
      async onStdout() {
        await clock.advance(60_000);
        taken++;
      },
    });
    expect({ taken, exitCode: result.exitCode }).toEqual({ taken: 2, exitCode: 0 });
  });
});

test('a run that is cancelled before it begins sends nothing', async () => {
  await expect(run({ signal: AbortSignal.abort() })).rejects.toThrow(failure('Cancelled'));
  expect(guest.request).toBeUndefined();
});
