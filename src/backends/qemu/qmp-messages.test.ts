import { describe, expect, it } from 'vitest';
import { QmpReader } from './qmp-messages.ts';

const read = (...chunks: (string | Buffer)[]) => {
  const reader = new QmpReader();
  return chunks.flatMap((chunk) => reader.push(Buffer.from(chunk)));
};

describe('messages of QEMU', () => {
  it.each([
    ['{"QMP":{"version":{},"capabilities":["oob"]}}', { kind: 'greeting' }],
    ['{"return":{"a":1},"id":7}', { kind: 'reply', id: 7, value: { a: 1 } }],
    ['{"return":"","id":7}', { kind: 'reply', id: 7, value: '' }],
    [
      '{"id":7,"error":{"class":"GenericError","desc":"no such node"}}',
      { kind: 'failure', id: 7, description: 'no such node' },
    ],
    [
      '{"timestamp":{},"event":"SHUTDOWN","data":{"guest":true}}',
      { kind: 'event', name: 'SHUTDOWN', data: { guest: true } },
    ],
    ['{"timestamp":{},"event":"STOP"}', { kind: 'event', name: 'STOP', data: {} }],
  ])('%s', (line, message) => {
    expect(read(`${line}\r\n`)).toEqual([message]);
  });

  it('come out whole however the stream is cut, inside a character too', () => {
    const line = Buffer.from('{"return":"Grüße","id":1}\n{"event":"STOP"}\n');
    const bytewise = Array.from(line, (byte) => Buffer.from([byte]));
    expect(read(...bytewise)).toEqual(read(line));
    expect(read(line)).toHaveLength(2);
  });

  it.each([
    'garbage',
    '[]',
    '"x"',
    'null',
    '{}',
    '{"return":1}',
    '{"return":1,"id":"x"}',
    '{"id":1,"error":3}',
    '',
  ])('that make no sense are skipped: %s', (line) => {
    expect(read(`${line}\n{"event":"STOP"}\n`)).toEqual([{ kind: 'event', name: 'STOP', data: {} }]);
  });

  it('that never end are not kept', () => {
    const reader = new QmpReader();
    const chunk = Buffer.alloc(1 << 20, 'x');
    expect(() => {
      for (let i = 0; i < 10; i++) reader.push(chunk);
    }).toThrow(RangeError);
  });
});
