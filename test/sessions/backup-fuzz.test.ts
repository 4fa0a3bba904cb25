import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isAlcoveError } from '../../src/errors.ts';
import { TarWalk } from '../../src/sessions/backup/tar-walk.ts';
import { seeded } from '../guest/seeded.ts';
import { type BackupFixture, backupFixture, makeTree, roomy, run } from './backup-fixture.ts';

let fixture: BackupFixture;
let tars: Buffer[];
beforeAll(() => {
  fixture = backupFixture();
  const tree = join(fixture.dir, 'tree');
  mkdirSync(tree);
  makeTree(tree);
  tars = [
    ['--format=gnu'],
    ['--format=oldgnu', '--sparse'],
    ['--format=pax', '--sparse', '--sparse-version=0.0'],
    ['--format=pax', '--sparse', '--sparse-version=0.1'],
    ['--format=pax', '--sparse', '--sparse-version=1.0'],
  ].map((options) => run('tar', ['-c', ...options, '-C', tree, '.']));
});
afterAll(() => fixture.end());

const mutation = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 12 }),
    fc
      .constantFrom('/', '..', '\xff\xff\xff\xff\xff\xff\xff\xff', '77777777777\0', 'x', 'S', '1', '3')
      .map((text) => Buffer.from(text, 'latin1')),
  ),
  how: fc.constantFrom('over', 'inserted', 'cut'),
  /** So that a header is still one after it was changed, and its fields are looked at. */
  checksum: fc.boolean(),
});

interface Mutation {
  at: number;
  bytes: Uint8Array;
  how: string;
  checksum: boolean;
}

function mutated(bytes: Buffer, mutations: readonly Mutation[]): Buffer {
  return mutations.reduce<Buffer>(mutate, bytes);
}

function mutate(tar: Buffer, { at, bytes, how, checksum }: Mutation): Buffer {
  if (tar.length === 0) return tar;
  const offset = Math.min(tar.length - 1, Math.floor(at * Math.min(tar.length, 40_000)));
  if (how === 'cut') return tar.subarray(0, offset);
  if (how === 'inserted') return Buffer.concat([tar.subarray(0, offset), bytes, tar.subarray(offset)]);
  const changed = Buffer.from(tar);
  changed.set(bytes.subarray(0, tar.length - offset), offset);
  if (checksum) sumAgain(changed, offset - (offset % 512));
  return changed;
}

function sumAgain(tar: Buffer, at: number): void {
  const block = tar.subarray(at, at + 512);
  if (block.length < 512) return; // What is left of a tar that was cut.
  block.write('        ', 148, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

/** What the walk says of it: the totals, or the error's problem. */
function outcome(tar: Buffer, chunkBytes: number): unknown {
  try {
    const walk = new TarWalk(roomy);
    for (let at = 0; at < tar.length; at += chunkBytes) walk.push(tar.subarray(at, at + chunkBytes));
    return walk.end();
  } catch (error) {
    if (isAlcoveError(error, 'BackupInvalid')) return error.details;
    throw error;
  }
}

test('a tar that was tampered with is followed or refused, and the same whatever its chunks', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 4 }),
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 2_000 }),
      (which, mutations, chunkBytes) => {
        const tar = mutated(tars[which] ?? Buffer.alloc(1), mutations);
        expect(outcome(tar, chunkBytes)).toEqual(outcome(tar, tar.length || 1));
      },
    ),
    { ...seeded, numRuns: 1_500 },
  );
});

test('bytes that are no tar are refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 512, maxLength: 4_096 }), fc.boolean(), (bytes, checksum) => {
      const tar = Buffer.from(bytes);
      if (checksum) sumAgain(tar, 0);
      fc.pre(!tar.subarray(0, 512).every((byte) => byte === 0));
      expect(outcome(tar, 700)).toMatchObject({
        problem: expect.stringMatching(/^(damaged|refused|cut short|too large)$/),
      });
    }),
    seeded,
  );
});

test('an archive whose compressed bytes were tampered with is refused, or holds a whole tar', async () => {
  const path = join(fixture.dir, 'tampered');
  await fc.assert(
    fc.asyncProperty(
      fc.nat({ max: 4 }),
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      async (which, mutations) => {
        const compressed = zstdCompressSync(tars[which] ?? Buffer.alloc(1));
        writeFileSync(
          path,
          mutated(
            compressed,
            mutations.map((each) => ({ ...each, checksum: false })),
          ),
        );
        const result = await fixture.store.verify(path, roomy).catch((error: unknown) => error);
        if (result instanceof Error) expect(result).toMatchObject({ code: 'BackupInvalid' });
      },
    ),
    { ...seeded, numRuns: 200 },
  );
});
