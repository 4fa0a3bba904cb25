import { endOfTar, paddingAfter } from '../../src/images/index.ts';
import { writePax } from '../../src/images/tar/pax.ts';

/** A header field by field, as no honest writer would fill them in. Strings are bytes (U+0000 to U+00FF). */
export interface RawHeader {
  name?: string;
  type?: string;
  target?: string;
  /** The field's own text where it is no number. @default the length of `data` */
  size?: number | string;
  mode?: string;
  uid?: string;
  mtime?: string;
  magic?: string;
  data?: string | Buffer;
  checksum?: string;
  /** Bytes put over the header, before it is summed. */
  over?: readonly { at: number; bytes: string }[];
}

/** One header with what follows it. */
export function raw(header: RawHeader): Buffer {
  const data = Buffer.isBuffer(header.data) ? header.data : Buffer.from(header.data ?? '', 'latin1');
  const block = Buffer.alloc(512);
  const put = (text: string, at: number) => block.write(text, at, 'latin1');
  const size = header.size ?? data.length;
  put(header.name ?? 'file', 0);
  put(header.mode ?? '0000644\0', 100);
  put(header.uid ?? '0000000\0', 108);
  put('0000000\0', 116);
  put(typeof size === 'string' ? size : `${size.toString(8).padStart(11, '0')}\0`, 124);
  put(header.mtime ?? '00000000000\0', 136);
  put(header.type ?? '0', 156);
  put(header.target ?? '', 157);
  put(header.magic ?? 'ustar\x0000', 257);
  for (const { at, bytes } of header.over ?? []) put(bytes, at);
  put('        ', 148);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(header.checksum ?? `${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([block, data, paddingAfter(data.length)]);
}

/** An extended header; a list where a key comes more than once. */
export function pax(
  records: Readonly<Record<string, string>> | readonly (readonly [key: string, value: string])[],
  type: 'x' | 'g' = 'x',
): Buffer {
  const pairs = Array.isArray(records) ? (records as [string, string][]) : Object.entries(records);
  const body = pairs.map(([key, value]) => writePax(new Map([[key, Buffer.from(value, 'latin1')]])));
  return raw({ name: 'PaxHeader', type, data: Buffer.concat(body) });
}

/** These, and the end. */
export function tarOf(...parts: readonly Buffer[]): Buffer {
  return Buffer.concat([...parts, endOfTar]);
}
