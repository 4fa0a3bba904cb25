import { describe, expect, test } from 'vitest';
import { TerminalModes } from './terminal-modes.ts';

const undoOf = (...chunks: string[]) => {
  const modes = new TerminalModes();
  for (const chunk of chunks) modes.note(Buffer.from(chunk));
  return modes.undo();
};

describe('what a program set in the terminal is undone', () => {
  test.each([
    ['another screen', '\x1b[?1049h\x1b[2J', '\x1b[?1049l'],
    ['a hidden cursor', '\x1b[?25l', '\x1b[?25h'],
    ['several modes at once', '\x1b[?1000;1006h', '\x1b[?1000l\x1b[?1006l'],
    ['pasting in brackets', '\x1b[?2004h', '\x1b[?2004l'],
    ['colours', '\x1b[1;31mred', '\x1b[0m'],
    ['margins', '\x1b[3;10r', '\x1b7\x1b[r\x1b8'],
    ['keypad', '\x1b=', '\x1b>'],
    ['the shape of the cursor', '\x1b[6 q', '\x1b[0 q'],
    ['keys in full', '\x1b[>4;2m\x1b[>1u', '\x1b[<1u\x1b[>4m'],
  ])('%s', (_name, text, undo) => {
    expect(undoOf(text)).toBe(undo);
    expect(undoOf(...text), 'in pieces').toBe(undo);
  });
});

test.each([
  '\x1b[?1049h\x1b[?1049l',
  '\x1b[?25l\x1b[?25h',
  '\x1b[1m\x1b[0m',
  '\x1b[32m\x1b[m',
  '\x1b[3;10r\x1b[r',
  '\x1b=\x1b>',
  '\x1b[>1u\x1b[<u',
  '\x1b[>4;1m\x1b[>4;0m',
  'plain text, [?25l, ü and \x1b',
])('nothing is to be undone after %j', (text) => {
  expect(undoOf(text)).toBe('');
  expect(undoOf(...text)).toBe('');
});
