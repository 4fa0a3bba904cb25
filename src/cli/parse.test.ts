import { describe, expect, test } from 'vitest';
import { AlcoveError } from '../errors.ts';
import { addAssignment, addEnvironment } from './parse-assignment.ts';
import { parseCopyIn, parseCopyOut, parseCopySide } from './parse-copy.ts';
import { parseCount } from './parse-count.ts';
import { parseDuration, parsePositiveDuration } from './parse-duration.ts';
import { parseSize } from './parse-size.ts';

/** The message of the InvalidInput that `parse` throws; its field must be the flag. */
function refusal(flag: string, parse: () => unknown): string {
  try {
    parse();
  } catch (error) {
    if (!(error instanceof AlcoveError)) throw error;
    expect(error.code).toBe('InvalidInput');
    expect(error.details).toEqual({ field: flag });
    return error.message;
  }
  throw new Error('nothing was refused');
}

describe('sizes', () => {
  test.each([
    ['512M', 512],
    ['512MiB', 512],
    ['512m', 512],
    ['1G', 1024],
    ['1GiB', 1024],
    ['1.5G', 1536],
    ['2T', 2 * 1024 * 1024],
    ['2048K', 2],
  ])('%s is %i MiB', (text, mib) => {
    expect(parseSize('--memory', text)).toBe(mib);
  });

  test.each([
    ['512', 'is not a size; write it like 512M, 1G or 1GiB'],
    ['512MB', 'is not a size; write it like 512M, 1G or 1GiB'],
    ['', 'is not a size; write it like 512M, 1G or 1GiB'],
    ['-1G', 'is not a size; write it like 512M, 1G or 1GiB'],
    ['1e3M', 'is not a size; write it like 512M, 1G or 1GiB'],
    ['0M', 'is nothing; write a size over zero'],
    ['1K', 'is not a whole number of MiB'],
    ['1.3M', 'is not a whole number of MiB'],
    ['99999999999G', 'is too large'],
  ])('%j is refused', (text, why) => {
    expect(refusal('--memory', () => parseSize('--memory', text))).toBe(`--memory: "${text}" ${why}`);
  });
});

describe('durations', () => {
  test.each([
    ['500ms', 500],
    ['10s', 10_000],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['0s', 0],
  ])('%s is %i ms', (text, ms) => {
    expect(parseDuration('--grace', text)).toBe(ms);
  });

  test.each([
    ['10', 'is not a duration; write it like 500ms, 10s, 5m or 1h'],
    ['1d', 'is not a duration; write it like 500ms, 10s, 5m or 1h'],
    ['-5s', 'is not a duration; write it like 500ms, 10s, 5m or 1h'],
    ['700h', 'is longer than 24 days'],
    ['0s', 'is no time at all; write a duration over zero'],
    ['0.1ms', 'is no time at all; write a duration over zero'],
  ])('%j is refused', (text, why) => {
    expect(refusal('--timeout', () => parsePositiveDuration('--timeout', text))).toBe(
      `--timeout: "${text}" ${why}`,
    );
  });
});

describe('counts', () => {
  test.each(['0', '-1', '1.5', 'two', '', '101', '1e1'])('%j is refused', (text) => {
    expect(refusal('--count', () => parseCount('--count', text, 100))).toBe(
      `--count: "${text}" is not a whole number from 1 to 100`,
    );
  });

  test('a whole number up to the limit', () => {
    expect(parseCount('--count', '100', 100)).toBe(100);
  });
});

describe('assignments', () => {
  test.each([
    ['A=b', { A: 'b' }],
    ['A=', { A: '' }],
    ['A=b=c', { A: 'b=c' }],
    ['A= b', { A: ' b' }],
  ])('%j', (text, expected) => {
    expect(addAssignment('--label', text)).toEqual(expected);
  });

  test.each(['', '=b', 'A'])('%j is refused', (text) => {
    expect(refusal('--label', () => addAssignment('--label', text))).toBe(
      `--label: "${text}" is not KEY=VALUE`,
    );
  });

  test('the last of one key wins, the others stay', () => {
    expect(addAssignment('--env', 'A=2', { A: '1', B: '3' })).toEqual({ A: '2', B: '3' });
  });

  test('a key alone takes its value from the environment, or is refused', () => {
    expect(addEnvironment('--env', 'TOKEN', { TOKEN: 'x' }, { A: '1' })).toEqual({ A: '1', TOKEN: 'x' });
    expect(refusal('--env', () => addEnvironment('--env', 'TOKEN', {}))).toBe(
      '--env: TOKEN is not set in your environment',
    );
  });
});

describe('copies', () => {
  test.each([
    ['./src:/job', './src', '/job'],
    ['a:b:/c', 'a:b', '/c'],
    ['C:/x:/y', 'C:/x', '/y'],
  ])('in: %s', (text, hostPath, guestPath) => {
    expect(parseCopyIn('--copy-in', text)).toEqual({ hostPath, guestPath });
  });

  test.each([
    ['/job/out:./out', '/job/out', './out'],
    ['/a:b:c', '/a', 'b:c'],
  ])('out: %s', (text, guestPath, hostPath) => {
    expect(parseCopyOut('--copy-out', text)).toEqual({ hostPath, guestPath });
  });

  test.each(['src', 'src:work', ':/job'])('in: %j is refused', (text) => {
    expect(refusal('--copy-in', () => parseCopyIn('--copy-in', text))).toContain('is not SRC:DST');
  });

  test.each(['/out', 'out:./x', '/out:'])('out: %j is refused', (text) => {
    expect(refusal('--copy-out', () => parseCopyOut('--copy-out', text))).toContain('is not SRC:DST');
  });

  test.each([
    ['web:/etc/x', { kind: 'guest', vmId: 'web', path: '/etc/x' }],
    ['./web:/x', { kind: 'host', path: './web:/x' }],
    ['/a:b', { kind: 'host', path: '/a:b' }],
    ['Web:/x', { kind: 'host', path: 'Web:/x' }],
    ['file', { kind: 'host', path: 'file' }],
  ])('side %s', (text, side) => {
    expect(parseCopySide('src', text)).toEqual(side);
  });
});
