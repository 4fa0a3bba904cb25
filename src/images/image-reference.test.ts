import { expect, test } from 'vitest';
import { checkName, checkReference, withTag } from './image-reference.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

test.each([
  ['debian', 'debian:latest'],
  ['debian:12', 'debian:12'],
  ['localhost:5000/app', 'localhost:5000/app:latest'],
  ['localhost:5000/app:1', 'localhost:5000/app:1'],
  [`debian@${digest}`, `debian@${digest}`],
  ['builtin', 'builtin'],
])('%s means %s', (reference, meant) => {
  expect(withTag(reference)).toBe(meant);
});

test.each(['debian', 'a.example/b/c_d/e--f:v1.2', 'localhost:5000/app', 'app:5000', `app:1@${digest}`])(
  '%s is a reference',
  (reference) => {
    expect(() => checkReference(reference)).not.toThrow();
  },
);

test.each([
  '',
  '-x',
  '/a',
  'a//b',
  'a b',
  'a\n',
  'docker://a',
  'a:',
  'a@sha256:12',
  'a:b:c',
  '../a',
  'a;b',
  `${'a/'.repeat(300)}b`,
])('%j is none', (reference) => {
  expect(() => checkReference(reference)).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
});

test.each(['builtin', 'deadbeef', digest, 'Not Right'])('an image cannot be named %s', (name) => {
  expect(() => checkName(name)).toThrow(expect.objectContaining({ code: 'InvalidInput' }));
});
