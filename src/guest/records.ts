import type { Call } from './call.ts';
import type { Connection } from './connection.ts';
import { breach } from './failures.ts';
import type { Inbound } from './inbound.ts';
import { maxPayloadBytes } from './protocol.ts';
import { TlvReader } from './wire/tlv-reader.ts';

const lengthBytes = 4;

/** The records that a call answers, up to its end; leaving the loop early ends it in the guest. */
export async function* receiveRecords(
  connection: Connection,
  call: Call,
): AsyncGenerator<TlvReader, void, undefined> {
  try {
    yield* records(call.main);
    await call.ended;
  } catch (error) {
    connection.blame(error);
    throw error;
  } finally {
    await call[Symbol.asyncDispose]();
  }
}

/**
 * The records of a stream: TLV sequences, each with its length before it.
 *
 * @throws AlcoveError `GuestProtocol` when one is too long or cut off
 */
export async function* records(bytes: Inbound): AsyncGenerator<TlvReader, void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for (let chunk = await bytes.next(); !chunk.done; chunk = await bytes.next()) {
    rest = Buffer.concat([rest, chunk.value]);
    while (rest.length >= lengthBytes) {
      const length = rest.readUInt32LE();
      if (length > maxPayloadBytes) throw breach(`a record of ${length} bytes`);
      const end = lengthBytes + length;
      if (rest.length < end) break;
      const record = new TlvReader(rest.subarray(lengthBytes, end));
      rest = rest.subarray(end);
      yield record;
    }
  }
  if (rest.length > 0) throw breach('a record that is cut off');
}
