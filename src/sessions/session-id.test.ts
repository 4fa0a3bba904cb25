import { expect, test } from 'vitest';
import { checkSessionId } from './session-id.ts';

test.for(['7c9e6679-7425-40de-944b-e07fc1f90ae7', 'a', '0', 'build-17', 'a'.repeat(63)])(
  '%s is the id of a session',
  (id) => {
    expect(checkSessionId(id)).toBe(id);
  },
);

test('a UUID in capitals is the same session', () => {
  expect(checkSessionId('7C9E6679-7425-40DE-944B-E07FC1F90AE7')).toBe('7c9e6679-7425-40de-944b-e07fc1f90ae7');
});

test.for([
  ['nothing', ''],
  ['64 characters', 'a'.repeat(64)],
  ['capitals of what is no UUID', 'Build'],
  ['a way out of a directory', '../etc'],
  ['a path', 'a/b'],
  ['a dot', 'a.b'],
  ['a leading hyphen', '-a'],
  ['a trailing newline', 'a\n'],
  ['NUL', 'a\0b'],
  ['other letters', 'säge'],
] as const)('%s is refused', ([, id]) => {
  expect(() => checkSessionId(id)).toThrow(
    expect.objectContaining({ code: 'InvalidInput', details: { field: 'sessionId' } }),
  );
});

test.for([undefined, null, 7, {}, ['a']])('what is no text, as %j, is refused', (id) => {
  expect(() => checkSessionId(id as string)).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
});
