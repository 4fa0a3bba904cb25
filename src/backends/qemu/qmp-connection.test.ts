import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../host/index.ts';
import { queryRunState, queryTopNode, readRing } from './qmp-commands.ts';
import { QmpConnection, type QmpEvent } from './qmp-connection.ts';

let dir: string;
let path: string;
let server: Server | undefined;
const sockets = new Set<Socket>();

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'alcove-qmp-'));
  path = join(dir, 'qmp.sock');
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  server?.close();
  rmSync(dir, { recursive: true });
});

type Answer = (command: { execute: string; id: number; arguments: unknown }, socket: Socket) => void;

/** A QEMU that greets, accepts capabilities, and answers the rest as told. */
function fakeQemu(answer: Answer, greeting = '{"QMP":{}}\n'): void {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.write(greeting);
    socket.on('data', (data) => {
      for (const line of data.toString().trim().split('\n')) {
        const command = JSON.parse(line);
        if (command.execute === 'qmp_capabilities') reply(socket, command.id, {});
        else answer(command, socket);
      }
    });
  }).listen(path);
}

function reply(socket: Socket, id: number, value: unknown): void {
  socket.write(`${JSON.stringify({ return: value, id })}\n`);
}

const open = (onEvent: (event: QmpEvent) => void = () => undefined, timeoutMs = 2000) =>
  QmpConnection.open({ path, clock: systemClock, timeoutMs, onEvent });

describe('a monitor connection', () => {
  it('waits for a socket that is not there yet', async () => {
    const opening = open();
    setTimeout(() => fakeQemu(({ id }, socket) => reply(socket, id, 1)), 20);
    using qmp = await opening;
    expect(await qmp.execute('x')).toBe(1);
  });

  it('gives each caller its own answer, whatever the order', async () => {
    const held: (() => void)[] = [];
    fakeQemu(({ id, execute }, socket) => {
      held.unshift(() => reply(socket, id, execute));
      if (held.length === 3) for (const send of held) send();
    });
    using qmp = await open();
    expect(await Promise.all(['a', 'b', 'c'].map((name) => qmp.execute(name)))).toEqual(['a', 'b', 'c']);
  });

  it("tells QEMU's refusal in its own words", async () => {
    fakeQemu(({ id }, socket) => socket.write(`{"id":${id},"error":{"desc":"Node is in use"}}\n`));
    using qmp = await open();
    await expect(qmp.execute('x')).rejects.toMatchObject({
      code: 'VmFailed',
      message: 'QEMU refused: Node is in use',
    });
  });

  it('passes events on between answers, and survives garbage', async () => {
    const events: QmpEvent[] = [];
    fakeQemu(({ id }, socket) => {
      socket.write('\0\xff{]]\n{"event":"SHUTDOWN","data":{"reason":"guest-reset"}}\n');
      reply(socket, id, 'still here');
    });
    using qmp = await open((event) => events.push(event));
    expect(await qmp.execute('x')).toBe('still here');
    expect(events).toEqual([{ name: 'SHUTDOWN', data: { reason: 'guest-reset' } }]);
  });

  it('ends every waiting call when QEMU goes away, and says so', async () => {
    fakeQemu((_, socket) => socket.destroy());
    using qmp = await open();
    await expect(Promise.all([qmp.execute('x'), qmp.execute('y')])).rejects.toMatchObject({
      code: 'VmFailed',
    });
    expect((await qmp.closed).message).toBe('the connection ended');
    await expect(qmp.execute('z')).rejects.toMatchObject({ code: 'VmFailed' });
  });

  it('ends when a line never does', async () => {
    fakeQemu((_, socket) => socket.write(Buffer.alloc(5 << 20, 'x')));
    using qmp = await open();
    await expect(qmp.execute('x')).rejects.toMatchObject({ code: 'VmFailed' });
    expect(await qmp.closed).toBeInstanceOf(RangeError);
  });

  it('gives up on a command that is not answered', async () => {
    fakeQemu(() => undefined);
    using qmp = await open();
    await expect(qmp.execute('x', {}, 20)).rejects.toMatchObject({
      message: 'QEMU did not give an answer to x within 20 ms',
    });
  });

  it.each([
    ['nobody listens', () => undefined],
    ['nobody greets', () => fakeQemu(() => undefined, '')],
  ])('gives up when %s', async (_, prepare) => {
    prepare();
    await expect(open(undefined, 60)).rejects.toMatchObject({ code: 'VmFailed' });
  });

  it('stops trying when the process is known to be dead', async () => {
    const signal = AbortSignal.timeout(20);
    const opening = QmpConnection.open({
      path,
      clock: systemClock,
      timeoutMs: 60_000,
      signal,
      onEvent: () => undefined,
    });
    await expect(opening).rejects.toMatchObject({ name: 'TimeoutError' });
  });
});

describe('answers are checked', () => {
  const answering = (value: unknown) => fakeQemu(({ id }, socket) => reply(socket, id, value));

  it.each([
    ['running', 'running'],
    ['paused', 'paused'],
    ['guest-panicked', 'shutdown'],
    ['io-error', 'other'],
  ])('a run state of %s is %s', async (status, state) => {
    answering({ status, running: false });
    using qmp = await open();
    expect(await queryRunState(qmp)).toBe(state);
  });

  it('the top node is that of the named device', async () => {
    answering([
      { qdev: '/machine/peripheral/image0/virtio-backend', inserted: { 'node-name': 'image' } },
      { qdev: '/machine/peripheral/disk0/virtio-backend', inserted: { 'node-name': 'layer-3' } },
    ]);
    using qmp = await open();
    expect(await queryTopNode(qmp, 'disk0')).toBe('layer-3');
  });

  it('the console comes as bytes', async () => {
    answering(Buffer.from([0, 255, 10]).toString('base64'));
    using qmp = await open();
    expect(await readRing(qmp, 'c', 10)).toEqual(Buffer.from([0, 255, 10]));
  });

  it('nonsense is an error', async () => {
    answering({ status: 3 });
    using qmp = await open();
    await expect(queryRunState(qmp)).rejects.toMatchObject({ code: 'VmFailed' });
  });
});
