import { invalidTar } from './tar-error.ts';

/** Reads a number of a tar header: octal digits, or base 256 where the first bit is set (a GNU extension, for large ones). */
export function readTarNumber(field: Buffer, what: string): number {
  const first = field[0] ?? 0;
  const value = first & 0x80 ? base256(field) : octal(field);
  if (value === undefined || !Number.isSafeInteger(value))
    throw invalidTar(`malformed ${what} in a tar header`);
  return value;
}

function octal(field: Buffer): number | undefined {
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trimStart();
  if (text === '') return 0;
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : undefined;
}

function base256(field: Buffer): number {
  const negative = ((field[0] ?? 0) & 0x40) !== 0;
  let value = BigInt((field[0] ?? 0) & 0x7f);
  for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte);
  return Number(negative ? value - (1n << BigInt(field.length * 8 - 1)) : value);
}

/** Octal digits with leading zeros and a NUL, in a field of `width` bytes; base 256 for a number that needs more. */
export function writeTarNumber(value: number, width: number): string {
  if (value < 8 ** (width - 1)) return `${value.toString(8).padStart(width - 1, '0')}\0`;
  const field = Buffer.alloc(width);
  field.writeBigUInt64BE(BigInt(value), width - 8);
  field[0] = 0x80;
  return field.toString('latin1');
}
