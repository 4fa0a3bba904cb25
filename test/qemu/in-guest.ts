import { randomBytes } from 'node:crypto';
import type { GuestChannel } from '../../src/guest/index.ts';
import type { BackendVm, StartRequest } from '../../src/vm/index.ts';

export function startRequest(hostname = 'test'): StartRequest {
  return { hostname, machineId: randomBytes(16).toString('hex') };
}

/** What a line prints in the guest, when it ends well. */
export async function run(guest: GuestChannel | BackendVm, line: string): Promise<string> {
  const channel = 'exec' in guest ? guest : await guest.guest();
  await using command = await channel.exec({ command: line });
  const [out, err] = await Promise.all([text(command.stdout), text(command.stderr)]);
  const { exitCode } = await command.exited;
  if (exitCode !== 0) throw new Error(`${line} ended with ${exitCode}: ${err}`);
  return out;
}

async function text(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
