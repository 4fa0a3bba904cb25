import { mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { sealHolds } from '../store/index.ts';
import { type Seals, settledSealOf } from './seals.ts';

function testFile(): string {
  const dir = mkdtempSync(join(tmpdir(), 'seals-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'file'), 'content');
  return join(dir, 'file');
}

const look = (path: string) => statSync(path, { bigint: true });

test.each([
  ['just now', 0],
  ['within a tick of any kernel', 19],
  ['in the future, as when the clock was set back', -60_000],
])('a file that was written %s gets no seal: the next change might leave its time as it is', (_, ageMs) => {
  const path = testFile();
  utimesSync(path, 1000, 1000);
  expect(settledSealOf(look(path), 1_000_000 + ageMs)).toBeUndefined();
});

test('a seal holds until size, inode or time are others', () => {
  const path = testFile();
  utimesSync(path, 1000, 1000);
  const seal = settledSealOf(look(path), 1_000_020);
  expect(seal).toBeDefined();
  expect(sealHolds(seal, look(path))).toBe(true);
  expect(sealHolds(undefined, look(path))).toBe(false);
  utimesSync(path, 1000, 1000.000001);
  expect(sealHolds(seal, look(path))).toBe(false);
  utimesSync(path, 1000, 1000);
  expect(sealHolds(seal, look(path))).toBe(true);
  writeFileSync(path, 'longer content');
  utimesSync(path, 1000, 1000);
  expect(sealHolds(seal, look(path))).toBe(false);
  const another = testFile();
  utimesSync(another, 1000, 1000);
  expect(sealHolds(seal, look(another))).toBe(false);
});

test('a seal as Alcove wrote it once holds for no file', () => {
  const path = testFile();
  const { size, ino, mtimeNs } = look(path);
  const { file }: Seals = JSON.parse(JSON.stringify({ file: `${size} ${ino} ${mtimeNs}` }));
  expect(sealHolds(file, look(path))).toBe(false);
});
