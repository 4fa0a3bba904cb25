import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as protocol from './protocol.ts';

const rust = readFileSync(new URL('../../agent/src/protocol.rs', import.meta.url), 'utf8');
const agentConstants = new Map(
  [...rust.matchAll(/^pub const (\w+): \w+ = ([\d_]+);$/gm)].map((match) => [
    match[1] ?? '',
    Number(match[2]?.replaceAll('_', '')),
  ]),
);

/** What the agent names for itself. */
const agentOnly = new Set<string>();

/** Our constants under the names that the agent has for them. */
const ours = new Map<string, number>([
  ['PROTOCOL_VERSION', protocol.protocolVersion],
  ['MAX_PAYLOAD', protocol.maxPayloadBytes],
  ['INITIAL_CREDIT', protocol.windowBytes],
  ['MAX_STREAMS', protocol.maxStreams],
  ...named('FRAME', protocol.frameType),
  ...named('CHANNEL', protocol.channel),
  ...named('CONTROL', protocol.control),
  ...named('OP', protocol.op),
  ...named('TAG', protocol.tag),
  ...named('KIND', protocol.kind),
  ...named('CHANGE', protocol.change),
]);

test('the agent has the same numbers, and none that the host does not have', () => {
  const ofTheWire = [...agentConstants].filter(([name]) => !agentOnly.has(name));
  expect(Object.fromEntries(ofTheWire)).toEqual(Object.fromEntries(ours));
});

function named(prefix: string, table: Readonly<Record<string, number>>): [string, number][] {
  return Object.entries(table).map(([name, value]) => [`${prefix}_${name}`, value]);
}
