/**
 * What QEMU says on its monitor socket (QMP): one JSON object a line. The other end is a process that runs hostile
 * guests, so nothing is believed: a line that is no message is skipped, a line without end is an error.
 */
export type QmpMessage =
  | { kind: 'greeting' }
  | { kind: 'reply'; id: number; value: unknown }
  | { kind: 'failure'; id: number; description: string }
  | { kind: 'event'; name: string; data: Readonly<Record<string, unknown>> };

/** The console's ring (256 KiB) in base64 is the longest line there is; `query-block` of a deep chain comes next. */
const maxLineBytes = 4 << 20;

/** Cuts a byte stream into messages. */
export class QmpReader {
  #parts: Buffer[] = [];
  #size = 0;

  /** @throws RangeError when a line grows over 4 MiB */
  push(chunk: Buffer): QmpMessage[] {
    const messages: QmpMessage[] = [];
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      this.#keep(chunk.subarray(from, end));
      from = end + 1;
      const message = readMessage(Buffer.concat(this.#parts).toString('utf8'));
      this.#parts = [];
      this.#size = 0;
      if (message) messages.push(message);
    }
    this.#keep(chunk.subarray(from));
    return messages;
  }

  #keep(part: Buffer): void {
    this.#size += part.length;
    if (this.#size > maxLineBytes) throw new RangeError(`a line of more than ${maxLineBytes} bytes`);
    if (part.length > 0) this.#parts.push(part);
  }
}

function readMessage(line: string): QmpMessage | undefined {
  const object = parseObject(line);
  if (!object) return undefined;
  if ('QMP' in object) return { kind: 'greeting' };
  if (typeof object.event === 'string')
    return { kind: 'event', name: object.event, data: isObject(object.data) ? object.data : {} };
  if (typeof object.id !== 'number') return undefined;
  if ('return' in object) return { kind: 'reply', id: object.id, value: object.return };
  if (isObject(object.error))
    return { kind: 'failure', id: object.id, description: String(object.error.desc ?? object.error.class) };
  return undefined;
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined; // Garbage; what waits for an answer runs into its deadline.
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
