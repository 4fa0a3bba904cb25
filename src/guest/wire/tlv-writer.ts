import { invalid } from '../failures.ts';
import { maxPayloadBytes, type Tag } from '../protocol.ts';

const tlvHeaderBytes = 6;

/**
 * Puts a request together, TLV by TLV. Optional values are written only when they are there.
 *
 * @throws AlcoveError `InvalidInput` from any method, when a value cannot be sent; `field` is the name given
 */
export class TlvWriter {
  #buffer = Buffer.allocUnsafe(256);
  #length = 0;

  bytes(tag: Tag, field: string, value: Uint8Array | undefined): this {
    if (value === undefined) return this;
    const at = this.#begin(tag, field, value.length);
    this.#buffer.set(value, at);
    return this;
  }

  /** Text, without NUL: the guest hands it to system calls that end there. */
  text(tag: Tag, field: string, value: string | undefined): this {
    if (value === undefined) return this;
    if (value.includes('\0')) throw invalid(field, 'holds a NUL character');
    const at = this.#begin(tag, field, Buffer.byteLength(value));
    this.#buffer.write(value, at);
    return this;
  }

  u8(tag: Tag, field: string, value: number | undefined): this {
    if (value === undefined) return this;
    const at = this.#begin(tag, field, 1);
    this.#buffer.writeUInt8(whole(field, value, 0xff), at);
    return this;
  }

  u16(tag: Tag, field: string, value: number | undefined): this {
    if (value === undefined) return this;
    const at = this.#begin(tag, field, 2);
    this.#buffer.writeUInt16LE(whole(field, value, 0xffff), at);
    return this;
  }

  /** Two u16 in one value. */
  u16Pair(tag: Tag, field: string, first: number, second: number): this {
    const at = this.#begin(tag, field, 4);
    this.#buffer.writeUInt16LE(whole(field, first, 0xffff), at);
    this.#buffer.writeUInt16LE(whole(field, second, 0xffff), at + 2);
    return this;
  }

  u32(tag: Tag, field: string, value: number | undefined): this {
    if (value === undefined) return this;
    const at = this.#begin(tag, field, 4);
    this.#buffer.writeUInt32LE(whole(field, value, 0xffff_ffff), at);
    return this;
  }

  u64(tag: Tag, field: string, value: number | bigint | undefined): this {
    if (value === undefined) return this;
    const at = this.#begin(tag, field, 8);
    const number = typeof value === 'bigint' ? value : BigInt(whole(field, value, Number.MAX_SAFE_INTEGER));
    this.#buffer.writeBigUInt64LE(number, at);
    return this;
  }

  /** A flag: 1 when set, nothing otherwise. */
  flag(tag: Tag, value: true | undefined): this {
    return value ? this.u8(tag, 'flag', 1) : this;
  }

  /** What was written. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #begin(tag: Tag, field: string, length: number): number {
    const at = this.#length + tlvHeaderBytes;
    if (at + length > maxPayloadBytes) {
      throw invalid(field, `makes the request larger than ${maxPayloadBytes} bytes`);
    }
    if (at + length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, at + length));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    this.#buffer.writeUInt16LE(tag, this.#length);
    this.#buffer.writeUInt32LE(length, this.#length + 2);
    this.#length = at + length;
    return at;
  }
}

function whole(field: string, value: number, max: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw invalid(field, `must be a whole number from 0 to ${max}, not ${value}`);
}
