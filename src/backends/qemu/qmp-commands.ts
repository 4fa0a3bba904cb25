import { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import type { QmpConnection } from './qmp-connection.ts';

/** The monitor commands Alcove uses, each with its answer checked. */

/** As `RunState` in QEMU's qapi/run-state.json; only these are told apart here. */
export type QmpRunState = 'prelaunch' | 'running' | 'paused' | 'shutdown' | 'other';

const runStates: Readonly<Record<string, QmpRunState>> = {
  prelaunch: 'prelaunch',
  running: 'running',
  paused: 'paused',
  shutdown: 'shutdown',
  'guest-panicked': 'shutdown',
};

const statusAnswer = z.object({ status: z.string() });

export async function queryRunState(qmp: QmpConnection): Promise<QmpRunState> {
  const { status } = parse(statusAnswer, await qmp.execute('query-status'), 'query-status');
  return runStates[status] ?? 'other';
}

const blockAnswer = z.array(
  z.object({ qdev: z.string().optional(), inserted: z.object({ 'node-name': z.string() }).optional() }),
);

/** Name of the block node that a device reads and writes now. */
export async function queryTopNode(qmp: QmpConnection, deviceId: string): Promise<string | undefined> {
  const blocks = parse(blockAnswer, await qmp.execute('query-block'), 'query-block');
  return blocks.find((block) => block.qdev?.split('/').includes(deviceId))?.inserted?.['node-name'];
}

/** Content of the console's ring since it was last read, at most `size` bytes. Reading empties it. */
export async function readRing(qmp: QmpConnection, device: string, size: number): Promise<Buffer> {
  const answer = await qmp.execute('ringbuf-read', { device, size, format: 'base64' });
  return Buffer.from(parse(z.string(), answer, 'ringbuf-read'), 'base64');
}

function parse<T>(schema: z.ZodType<T>, answer: unknown, command: string): T {
  const result = schema.safeParse(answer);
  if (result.success) return result.data;
  throw new AlcoveError('VmFailed', `QEMU's answer to ${command} makes no sense`, { cause: result.error });
}
