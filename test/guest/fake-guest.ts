import { expect } from 'vitest';
import { connectGuest, type GuestChannel, type GuestProcess } from '../../src/guest/index.ts';
import { channel, frameType, tag } from '../../src/guest/protocol.ts';
import { FakeAgent, type ReceivedFrame, tlvs, u32, u64 } from './fake-agent.ts';
import { ManualClock } from './manual-clock.ts';

/** TLVs of an exit with code 0. */
export const exitedWell = tlvs([tag.EXIT_CODE, u32(0)], [tag.DURATION_US, u64(1_500n)]);

/** A channel that is connected to a {@link FakeAgent}, on a clock that stands still. */
export class FakeGuest implements AsyncDisposable {
  readonly agent: FakeAgent;
  readonly clock: ManualClock;
  readonly channel: GuestChannel;

  private constructor(agent: FakeAgent, clock: ManualClock, channel: GuestChannel) {
    this.agent = agent;
    this.clock = clock;
    this.channel = channel;
  }

  static async connect(): Promise<FakeGuest> {
    const agent = await FakeAgent.listen();
    const clock = new ManualClock();
    const options = { socketPath: agent.socketPath, line: 'fresh', deadlineMs: 1_000, clock } as const;
    return new FakeGuest(agent, clock, await connectGuest(options));
  }

  /** Starts a command of which the agent says no more than that it runs. */
  async startCommand(signal?: AbortSignal): Promise<GuestProcess & { stream: number }> {
    const { agent } = this;
    const before = agent.frames.length;
    const starting = this.channel.exec({ command: ['x'], stdin: 'pipe' }, signal ? { signal } : {});
    const isOpen = (frame: ReceivedFrame, index: number) => index >= before && frame.type === frameType.OPEN;
    await agent.until(() => agent.frames.some(isOpen));
    const stream = agent.frames.find(isOpen)?.stream ?? 0;
    agent.send(frameType.OPENED, 0, stream, tlvs([tag.PID, u32(42)]));
    return Object.assign(await starting, { stream });
  }

  sendData(stream: number, bytes: Uint8Array | string, on: number = channel.MAIN): void {
    this.agent.send(frameType.DATA, on, stream, Buffer.from(bytes as Uint8Array));
  }

  /** Has the agent answer every request with an empty result. */
  answerEverything(): void {
    this.agent.onFrame = (frame) => {
      if (frame.type === frameType.OPEN) this.agent.send(frameType.RESULT, 0, frame.stream);
    };
  }

  /** Credit that the host has granted on a stream and channel. */
  grantedBytes(stream: number, on: number): number {
    return this.agent.frames
      .filter((f) => f.type === frameType.WINDOW && f.stream === stream && f.flag === on)
      .reduce((sum, f) => sum + f.payload.readUInt32LE(), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.channel[Symbol.asyncDispose]();
    await this.agent[Symbol.asyncDispose]();
    expect(this.clock.waiting, 'timers left').toBe(0);
  }
}

/** Matches an error with that code, and a message like that. */
export function failure(code: string, message = /./): unknown {
  return expect.objectContaining({ code, message: expect.stringMatching(message) });
}

export async function readAll(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
