import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Action } from '../action.ts';
import {
  changesBetween,
  type Inputs,
  inputsOf,
  type KeyFacts,
  keyOf,
  storedInputs,
  type TreeEntry,
} from './index.ts';
import { treeDigest } from './tree-digest.ts';

const action: Action = {
  source: { image: 'debian' },
  command: 'make',
  env: { CC: 'gcc' },
  inject: { from: '.', to: '/src' },
};
const entries: TreeEntry[] = [
  { path: 'bin', kind: 'directory', mode: 0o755 },
  { path: 'bin/run', kind: 'symlink', mode: 0o777, target: '../run.sh' },
  { path: 'main.c', kind: 'file', mode: 0o644, sha256: 'ab'.repeat(32), sizeBytes: 12 },
];
const facts: KeyFacts = {
  source: {
    identity: { image: 'sha256:1' },
    env: { PATH: '/bin' },
    workdir: '/work',
    user: 'builder',
    machine: { cpus: 1, memoryMiB: 256, diskMiB: 2048, network: 'none' },
  },
  backend: 'qemu',
  architecture: 'x86_64',
  files: { Makefile: '644 sha256:1' },
  trees: [treeOf(entries)],
};

function treeOf(entries: readonly TreeEntry[]) {
  return { to: '/src', digest: treeDigest(entries), entries };
}

function withEntry(index: number, change: Partial<TreeEntry>): KeyFacts {
  const changed = entries.map((entry, at) => (at === index ? { ...entry, ...change } : entry));
  return { ...facts, trees: [treeOf(changed)] };
}

/** One change of each input, with what `explain` says of it. */
const oneChange: [name: string, inputs: Inputs, change: object][] = [
  [
    'command',
    inputsOf({ ...action, command: 'make all' }, facts),
    { input: 'command', before: '"make"', after: '"make all"' },
  ],
  [
    'a line for the shell or a program',
    inputsOf({ ...action, command: ['make'] }, facts),
    { input: 'command', after: '["make"]' },
  ],
  [
    'workdir',
    inputsOf({ ...action, workdir: '/' }, facts),
    { input: 'workdir', before: '/work', after: '/' },
  ],
  ['user', inputsOf({ ...action, user: '0' }, facts), { input: 'user', before: 'builder', after: '0' }],
  [
    'variable of the action',
    inputsOf({ ...action, env: { CC: 'clang' } }, facts),
    { input: 'env.CC', before: 'gcc', after: 'clang' },
  ],
  [
    'variable of the source',
    inputsOf(action, { ...facts, source: { ...facts.source, env: {} } }),
    { input: 'env.PATH', change: 'removed', before: '/bin' },
  ],
  [
    'new variable',
    inputsOf({ ...action, env: { CC: 'gcc', V: '' } }, facts),
    { input: 'env.V', change: 'added', after: '' },
  ],
  [
    'secret',
    inputsOf({ ...action, secrets: { PIN: '1' } }, facts),
    { input: 'env.PIN', change: 'added', secret: true },
  ],
  ['backend', inputsOf(action, { ...facts, backend: 'memory' }), { input: 'backend' }],
  ['architecture', inputsOf(action, { ...facts, architecture: 'aarch64' }), { input: 'architecture' }],
  [
    'image digest',
    inputsOf(action, { ...facts, source: { ...facts.source, identity: { image: 'sha256:2' } } }),
    { input: 'image', before: 'sha256:1', after: 'sha256:2' },
  ],
  [
    'memory of the machine',
    inputsOf({ ...action, limits: { memoryMiB: 512 } }, facts),
    { input: 'machine.memoryMiB', before: '256', after: '512' },
  ],
  [
    'network of the machine',
    inputsOf({ ...action, limits: { network: 'user' } }, facts),
    { input: 'machine.network' },
  ],
  ['kind of snapshot', inputsOf({ ...action, memory: true }, facts), { input: 'snapshot' }],
  [
    'file of the policy',
    inputsOf(action, { ...facts, files: { Makefile: '644 sha256:2' } }),
    { input: 'file.Makefile' },
  ],
  [
    'content of an injected file',
    inputsOf(action, withEntry(2, { sha256: 'cd'.repeat(32) })),
    {
      input: 'inject./src/main.c',
      before: 'content sha256:abababababab, 12 bytes',
      after: 'content sha256:cdcdcdcdcdcd, 12 bytes',
    },
  ],
  [
    'mode of an injected file',
    inputsOf(action, withEntry(2, { mode: 0o755 })),
    { input: 'inject./src/main.c', before: 'mode 644', after: 'mode 755' },
  ],
  [
    'target of an injected link',
    inputsOf(action, withEntry(1, { target: '/run.sh' })),
    { input: 'inject./src/bin/run', before: 'target ../run.sh', after: 'target /run.sh' },
  ],
  [
    'kind of what is injected',
    inputsOf(action, withEntry(2, { kind: 'fifo' })),
    { input: 'inject./src/main.c', before: 'file, 12 bytes, mode 644', after: 'fifo, mode 644' },
  ],
  [
    'owner of what is injected',
    inputsOf({ ...action, inject: { from: '.', to: '/src', owner: { uid: 1, gid: 0 } } }, facts),
    { input: 'inject./src', before: '', after: 'owner(1:0)' },
  ],
  [
    'mirror',
    inputsOf(action, { ...facts, trees: [{ ...treeOf(entries), rules: '0123456789abcdef0' }] }),
    { input: 'inject./src', before: '', after: 'mirror(0123456789abcdef)' },
  ],
];

test.each(oneChange)('another %s is another key, and is what is told', (_name, now, change) => {
  const before = inputsOf(action, facts);
  const key = keyOf(before);
  expect(keyOf(now)).not.toBe(key);
  expect(changesBetween(storedInputs(before, key), key, now)).toEqual([expect.objectContaining(change)]);
});

test('a name that is another is two changes: one gone, one new', () => {
  const before = inputsOf(action, facts);
  const now = inputsOf(action, withEntry(2, { path: 'other.c' }));
  expect(keyOf(now)).not.toBe(keyOf(before));
  expect(changesBetween(storedInputs(before, 'k'), 'k', now)).toEqual([
    { input: 'inject./src/main.c', change: 'removed', before: 'file, 12 bytes, mode 644' },
    { input: 'inject./src/other.c', change: 'added', after: 'file, 12 bytes, mode 644' },
  ]);
});

test('key without image, command or environment: none of them can be left out', () => {
  const whole = inputsOf(action, facts);
  for (const name of ['image', 'command', 'env.CC', 'env.PATH']) {
    expect(Object.keys(whole.values)).toContain(name);
    const { [name]: _, ...rest } = whole.values;
    expect(keyOf({ ...whole, values: rest })).not.toBe(keyOf(whole));
  }
});

test('what does not change what an action makes is no input', () => {
  const before = keyOf(inputsOf(action, facts));
  const other: Action = {
    ...action,
    timeoutMs: 5,
    name: 'other',
    maxOutputBytes: 1,
    inject: { from: '/elsewhere', to: '/src' },
  };
  expect(keyOf(inputsOf(other, facts))).toBe(before);
  // The same as the source says it.
  expect(
    keyOf(
      inputsOf({ ...action, workdir: '/work', user: 'builder', env: { CC: 'gcc', PATH: '/bin' } }, facts),
    ),
  ).toBe(before);
});

const text = fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom('', '1:a', 'a1:', '0:', 'ä'));
const values = fc.dictionary(
  text,
  text.map((text) => ({ text })),
  { maxKeys: 6 },
);

test('two sets of inputs have one key when they are the same, in any order, and only then', () => {
  fc.assert(
    fc.property(values, values, (a, b) => {
      const keyA = keyOf({ values: a, trees: [] });
      const reversed = Object.fromEntries(Object.entries(a).reverse());
      expect(keyOf({ values: reversed, trees: [] })).toBe(keyA);
      const same = JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort());
      expect(keyOf({ values: b, trees: [] }) === keyA).toBe(same);
    }),
    { numRuns: 2_000 },
  );
});

test.each<[Record<string, string>, Record<string, string>]>([
  [{ ab: 'c' }, { a: 'bc' }],
  [{ a: 'b', c: 'd' }, { a: 'bcd' }],
  [{ a: '1:b' }, { a: 'b' }],
  [{ a: '', b: '' }, { ab: '' }],
  [{ a: '\0b' }, { 'a\0': 'b' }],
])('%j and %j have two keys', (one, other) => {
  const [keyOne, keyOther] = [one, other].map((texts) =>
    keyOf({
      values: Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, { text }])),
      trees: [],
    }),
  );
  expect(keyOne).not.toBe(keyOther);
});

test('a key says which kind it is, and stays what it was', () => {
  expect(keyOf({ values: { command: { text: '"make"' } }, trees: [] })).toBe(
    'v1:b4f6d2ac09755f7821bda54aa22637432a212e3b2a0f1d9db984a4e3debb87d5',
  );
});

test('changes are exactly what was changed', () => {
  fc.assert(
    fc.property(values, values, (before, after) => {
      const changes = changesBetween(storedInputs({ values: before, trees: [] }, 'k'), 'k', {
        values: after,
        trees: [],
      });
      const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
      expect(changes.map(({ input }) => input)).toEqual(
        names.filter((name) => before[name]?.text !== after[name]?.text),
      );
    }),
  );
});

test.each([
  'GITHUB_TOKEN',
  'npm_config_authToken',
  'SECRET',
  'db-password',
  'MY_PASSWD',
  'API_KEY',
  'AWS_CREDENTIALS',
  'PGPASSWORD',
])('the value of %s is never stored or shown, though nobody said it is secret', (name) => {
  const before = inputsOf({ ...action, env: { [name]: 'hunter2-before' } }, facts);
  const after = inputsOf({ ...action, env: { [name]: 'hunter2-after' } }, facts);
  const stored = storedInputs(before, keyOf(before));
  const changes = changesBetween(stored, keyOf(before), after);
  expect(changes).toEqual([{ input: `env.${name}`, change: 'changed', secret: true }]);
  expect(changesBetween(stored, keyOf(before), before)).toEqual([]);
  expect(JSON.stringify([stored, changes])).not.toContain('hunter2');
});

test.each(['MONKEY', 'KEYBOARD', 'TOKENIZER', 'PWD'])('%s is no secret', (name) => {
  const inputs = inputsOf({ ...action, env: { [name]: 'x' } }, facts);
  expect(storedInputs(inputs, 'k').values[`env.${name}`]).toEqual({ text: 'x' });
});

test('a secret is another digest in each entry, and a password in an address is one', () => {
  const inputs = inputsOf(
    { ...action, env: { URL: 'postgres://me:hunter2@db/x' }, secrets: { A: 'same', B: 'same' } },
    facts,
  );
  const one = storedInputs(inputs, 'key one').values;
  const two = storedInputs(inputs, 'key two').values;
  expect(
    new Set([one['env.A'], one['env.B'], two['env.A'], two['env.B']].map((value) => JSON.stringify(value)))
      .size,
  ).toBe(4);
  expect(JSON.stringify([one, two])).not.toMatch(/hunter2|same/);
});

test('what was a secret once, or is one now, is not shown', () => {
  const open = { values: { 'env.X': { text: 'open' } }, trees: [] };
  const hidden = { values: { 'env.X': { text: 'hidden', secret: true as const } }, trees: [] };
  const change = { input: 'env.X', change: 'changed', secret: true };
  expect(changesBetween(storedInputs(open, 'k'), 'k', hidden)).toEqual([change]);
  expect(changesBetween(storedInputs(hidden, 'k'), 'k', open)).toEqual([change]);
});

test('long values are shown where they differ, and without what a terminal obeys', () => {
  const long = 'x'.repeat(1_000);
  const before = { values: { command: { text: `${long}a\u001b[2J\n` } }, trees: [] };
  const after = { values: { command: { text: `${long}b` } }, trees: [] };
  expect(changesBetween(storedInputs(before, 'k'), 'k', after)).toEqual([
    {
      input: 'command',
      change: 'changed',
      before: `…${'x'.repeat(40)}a\\u{1b}[2J\\n`,
      after: `…${'x'.repeat(40)}b`,
    },
  ]);
});

test('where the paths of an earlier tree are not known, the tree itself has changed', () => {
  const before = storedInputs(inputsOf(action, facts), 'k');
  const bare = { ...before, trees: before.trees.map((tree) => ({ ...tree, entries: [] })) };
  const now = inputsOf(action, withEntry(2, { mode: 0o755 }));
  expect(changesBetween(bare, 'k', now)).toMatchObject([{ input: 'inject./src', change: 'changed' }]);
});

test('two folders that go to one place are two inputs, and their order counts', () => {
  const a = treeOf(entries);
  const b = treeOf(entries.slice(0, 1));
  const inject = [
    { from: 'a', to: '/src' },
    { from: 'b', to: '/src' },
  ];
  const inputs = inputsOf({ ...action, inject }, { ...facts, trees: [a, b] });
  expect(Object.keys(inputs.values)).toEqual(expect.arrayContaining(['inject./src', 'inject./src (2)']));
  expect(keyOf(inputsOf({ ...action, inject }, { ...facts, trees: [b, a] }))).not.toBe(keyOf(inputs));
});
