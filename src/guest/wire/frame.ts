import { headerBytes, maxPayloadBytes, trailerBytes } from '../protocol.ts';

/** The fields of a frame's header that mean something. */
export interface FrameHeader {
  type: number;
  flag: number;
  stream: number;
  length: number;
}

/** Size of a whole frame with so long a payload. */
export function frameBytes(payloadLength: number): number {
  return headerBytes + payloadLength + trailerBytes;
}

/** FNV-1a (32 bit) of the twelve bytes at `offset`; never 0, so that zeros form no valid frame. */
export function headerCheck(bytes: Uint8Array, offset: number): number {
  let hash = 0x811c9dc5;
  for (let i = offset; i < offset + 12; i++) hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  return hash >>> 0 || 1;
}

/** Writes a whole frame at `offset`, where there is room for {@link frameBytes}; returns the offset after it. */
export function writeFrame(
  into: Buffer,
  offset: number,
  type: number,
  flag: number,
  stream: number,
  payload: Uint8Array,
): number {
  into[offset] = type;
  into[offset + 1] = flag;
  into.writeUInt16LE(0, offset + 2);
  into.writeUInt32LE(stream, offset + 4);
  into.writeUInt32LE(payload.length, offset + 8);
  const check = headerCheck(into, offset);
  into.writeUInt32LE(check, offset + 12);
  into.set(payload, offset + headerBytes);
  return into.writeUInt32LE(check, offset + headerBytes + payload.length);
}

/** One frame by itself. */
export function encodeFrame(type: number, flag: number, stream: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(frameBytes(payload.length));
  writeFrame(frame, 0, type, flag, stream, payload);
  return frame;
}

/** The header at `offset`, where sixteen bytes are; `undefined` when they are not a valid header. */
export function readHeader(from: Buffer, offset: number): FrameHeader | undefined {
  const length = from.readUInt32LE(offset + 8);
  if (length > maxPayloadBytes || from[offset + 2] !== 0 || from[offset + 3] !== 0) return undefined;
  if (from.readUInt32LE(offset + 12) !== headerCheck(from, offset)) return undefined;
  return {
    type: from[offset] ?? 0,
    flag: from[offset + 1] ?? 0,
    stream: from.readUInt32LE(offset + 4),
    length,
  };
}

/** Whether the frame at `offset`, which is all there, ends with the check its header has. */
export function trailerMatches(from: Buffer, offset: number, length: number): boolean {
  return from.readUInt32LE(offset + headerBytes + length) === from.readUInt32LE(offset + 12);
}
