import type { Call } from './call.ts';
import type { TlvReader } from './wire/tlv-reader.ts';

/** What a call that streams answers, up to its end; leaving the loop early ends it in the guest. */
export async function* receiveAll(call: Call): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for (let chunk = await call.main.next(); !chunk.done; chunk = await call.main.next()) yield chunk.value;
    await call.ended;
  } finally {
    await call[Symbol.asyncDispose]();
  }
}

/**
 * Sends all bytes of `source` and resolves with the answer. The source is let go of when the call ends first; when the
 * source fails, the call is given up and rejects with the source's error.
 */
export async function sendAll(call: Call, source: AsyncIterable<Uint8Array>): Promise<TlvReader> {
  const iterator = source[Symbol.asyncIterator]();
  let exhausted = false;
  try {
    while (!call.over) {
      const next = await nextUnlessOver(call, iterator);
      if (next === 'over') break;
      if (next.done) {
        exhausted = true;
        await call.outbound.end();
        break;
      }
      await call.outbound.write(next.value);
    }
  } catch (error) {
    await call.giveUp(error); // Does nothing when the call's own end is what failed the write.
  } finally {
    // Not waited for: a source that hangs in `next` would hang here too.
    if (!exhausted) Promise.resolve(iterator.return?.()).catch(() => {});
  }
  return call.ended;
}

/** One buffer or string as a source; an iterable as it is. */
export function bytesOf(data: AsyncIterable<Uint8Array> | Uint8Array | string): AsyncIterable<Uint8Array> {
  if (typeof data === 'string') return once(Buffer.from(data));
  return data instanceof Uint8Array ? once(data) : data;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

function nextUnlessOver(
  call: Call,
  iterator: AsyncIterator<Uint8Array>,
): Promise<IteratorResult<Uint8Array> | 'over'> {
  // Not Promise.race with the call's promise: that would keep something of every chunk until the call ends.
  return new Promise((resolve, reject) => {
    call.onOver(() => resolve('over'));
    iterator.next().then(resolve, reject);
  });
}
