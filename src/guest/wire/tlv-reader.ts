import { breach } from '../failures.ts';
import type { Tag } from '../protocol.ts';

/**
 * What the guest answered, TLV by TLV. Nothing in it is trusted: a value of the wrong size, or one that is missing
 * where it must be, is the guest's breach of protocol; text is bounded and freed of control characters.
 *
 * @throws AlcoveError `GuestProtocol` from any method
 */
export class TlvReader {
  readonly #values: { tag: number; value: Buffer }[] = [];

  /** Keeps views of `payload`, which must not change afterwards. */
  constructor(payload: Buffer) {
    for (let at = 0; at < payload.length; ) {
      if (payload.length - at < 6) throw breach('a TLV that is cut off');
      const length = payload.readUInt32LE(at + 2);
      const end = at + 6 + length;
      if (end > payload.length) throw breach('a TLV longer than its frame');
      this.#values.push({ tag: payload.readUInt16LE(at), value: payload.subarray(at + 6, end) });
      at = end;
    }
  }

  has(tag: Tag): boolean {
    return this.bytes(tag) !== undefined;
  }

  /** The first value of that tag. */
  bytes(tag: Tag): Buffer | undefined {
    return this.#values.find((entry) => entry.tag === tag)?.value;
  }

  u8(tag: Tag): number | undefined {
    return this.#sized(tag, 1)?.readUInt8();
  }

  u32(tag: Tag): number | undefined {
    return this.#sized(tag, 4)?.readUInt32LE();
  }

  /** Beyond what a number holds exactly, the largest that does. */
  u64(tag: Tag): number | undefined {
    const value = this.#sized(tag, 8)?.readBigUInt64LE();
    if (value === undefined) return undefined;
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
  }

  i64(tag: Tag): bigint | undefined {
    return this.#sized(tag, 8)?.readBigInt64LE();
  }

  /** A path or another string of bytes, as it is: UTF-8, invalid bytes replaced. */
  path(tag: Tag): string | undefined {
    return this.bytes(tag)?.toString('utf8');
  }

  /** Text for people: at most `maxLength` characters, control characters replaced. */
  text(tag: Tag, maxLength: number): string | undefined {
    const bytes = this.bytes(tag);
    if (!bytes) return undefined;
    const text = bytes.subarray(0, 4 * maxLength).toString('utf8');
    return text.replace(/\p{C}/gu, '\ufffd').slice(0, maxLength);
  }

  #sized(tag: Tag, size: number): Buffer | undefined {
    const value = this.bytes(tag);
    if (value && value.length !== size)
      throw breach(`TLV ${tag} of ${value.length} bytes instead of ${size}`);
    return value;
  }
}

/** `value`, which the protocol says is always there. */
export function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw breach(`an answer without ${name}`);
  return value;
}
