import { spawnSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { directory, makeTar } from '../../../test/images/make-tar.ts';
import { isAlcoveError } from '../../errors.ts';
import type { TarEntry } from './tar-entry.ts';
import { readTar, type TarReaderOptions } from './tar-reader.ts';
import { endOfTar, paddingAfter, writeTarHeader } from './tar-writer.ts';

interface Read {
  entry: TarEntry;
  data: Buffer;
}

async function* inPieces(data: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

async function readAll(
  tar: Buffer,
  endMark: TarReaderOptions['endMark'] = 'required',
  pieceBytes = 1000,
): Promise<Read[]> {
  const found: Read[] = [];
  for await (const { entry, content } of readTar(inPieces(tar, pieceBytes), { endMark })) {
    const chunks: Buffer[] = [];
    for await (const chunk of content()) chunks.push(Buffer.from(chunk));
    found.push({ entry, data: Buffer.concat(chunks) });
  }
  return found;
}

/** The file that a sparse entry stands for. */
function expanded({ entry, data }: Read): Buffer {
  if (entry.kind !== 'file' || !entry.sparse) return data;
  const whole = Buffer.alloc(entry.sizeBytes);
  let at = 0;
  for (const { offset, size } of entry.sparse) at += data.copy(whole, offset, at, at + size);
  return whole;
}

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'tar-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return dir;
}

const gnuTar = (dir: string, ...args: string[]) =>
  spawnSync('tar', ['--create', '--sort=name', '--directory', dir, ...args, '.'], { maxBuffer: 64 << 20 })
    .stdout;

test.each(['v7', 'oldgnu', 'gnu', 'ustar', 'posix'])('reads what GNU tar writes as %s', async (format) => {
  const dir = folder();
  const long = format === 'v7' || format === 'ustar' ? 'short' : `${'d'.repeat(90)}/${'e'.repeat(120)}`;
  mkdirSync(join(dir, long), { recursive: true });
  writeFileSync(join(dir, long, 'file'), 'x'.repeat(5000), { mode: 0o640 });
  linkSync(join(dir, long, 'file'), join(dir, 'link'));
  symlinkSync(long, join(dir, 'symlink'));
  const read = await readAll(gnuTar(dir, `--format=${format}`, '--owner=1234', '--group=5678'));
  const byName = new Map(read.map((one) => [one.entry.name.replace(/^\.\/|\/$/g, ''), one]));
  expect([...byName.keys()]).toContain(long);
  const file = read.find(({ entry }) => entry.kind === 'file');
  expect(file?.data.toString()).toBe('x'.repeat(5000));
  expect(file?.entry.attributes).toMatchObject({ mode: 0o640, uid: 1234, gid: 5678 });
  expect(read.map(({ entry }) => entry.kind).sort()).toContain('hard-link');
  expect(byName.get('symlink')?.entry).toMatchObject({ kind: 'symlink', target: long });
});

test.each([
  ['gnu', '0.0'],
  ['posix', '0.0'],
  ['posix', '0.1'],
  ['posix', '1.0'],
])('reads files with holes as GNU tar writes them in %s, version %s', async (format, version) => {
  const dir = folder();
  const content = Buffer.alloc(3 << 20);
  for (let part = 0; part < 40; part++) content.write(`part ${part}`, part * 65536);
  writeFileSync(join(dir, 'holes'), '');
  truncateSync(join(dir, 'holes'), content.length);
  const file = openSync(join(dir, 'holes'), 'r+');
  for (let part = 0; part < 40; part++) writeSync(file, `part ${part}`, part * 65536);
  closeSync(file);
  writeFileSync(join(dir, 'only-hole'), '');
  truncateSync(join(dir, 'only-hole'), 1 << 20);
  const read = await readAll(gnuTar(dir, `--format=${format}`, '--sparse', `--sparse-version=${version}`));
  const holes = read.find(({ entry }) => entry.name === './holes');
  expect(holes?.entry).toHaveProperty('sparse');
  expect(holes && expanded(holes).equals(content)).toBe(true);
  const only = read.find(({ entry }) => entry.name === './only-hole');
  expect(only && expanded(only).equals(Buffer.alloc(1 << 20))).toBe(true);
});

const anyByte = fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code));
const name = fc.string({ unit: anyByte, minLength: 1, maxLength: 300 }).filter((text) => !text.endsWith('/'));
const attributes = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xfffffffe }),
  gid: fc.integer({ min: 0, max: 0xfffffffe }),
  mtimeS: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
  xattrs: fc.uniqueArray(
    fc.tuple(fc.stringMatching(/^user\.[a-z]{1,9}$/), fc.uint8Array({ maxLength: 99 })),
    {
      selector: ([key]) => key,
    },
  ),
});
const kind = fc.oneof(
  fc.constantFrom({ kind: 'directory' } as const, { kind: 'fifo' } as const),
  name.map((target) => ({ kind: 'symlink', target }) as const),
  name.map((target) => ({ kind: 'hard-link', target }) as const),
  fc.nat(0xfff).map((major) => ({ kind: 'block-device', major, minor: 7 }) as const),
  fc.uint8Array({ maxLength: 2000 }).map((bytes) => ({ kind: 'file', bytes }) as const),
);

test('what is written is read back, byte by byte', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(name, attributes, kind), { maxLength: 8 }),
      fc.integer({ min: 1, max: 5000 }),
      async (made, pieceBytes) => {
        const expected = made.map(([name, { xattrs, ...rest }, kind]) => {
          const common = {
            name,
            attributes: { ...rest, xattrs: new Map(xattrs.map(([key, value]) => [key, Buffer.from(value)])) },
          };
          return kind.kind === 'file'
            ? {
                entry: { ...common, kind: 'file', sizeBytes: kind.bytes.length } as TarEntry,
                data: Buffer.from(kind.bytes),
              }
            : { entry: { ...common, ...kind } as TarEntry, data: Buffer.alloc(0) };
        });
        const tar = Buffer.concat([
          ...expected.flatMap(({ entry, data }) => [writeTarHeader(entry), data, paddingAfter(data.length)]),
          endOfTar,
        ]);
        expect(await readAll(tar, 'required', pieceBytes)).toEqual(expected);
      },
    ),
    { numRuns: 200 },
  );
});

test('files of more than 8 GiB have their size read', async () => {
  const header = writeTarHeader({
    name: 'huge',
    attributes: { mode: 0o644, uid: 0, gid: 0, mtimeS: 0, xattrs: new Map() },
    kind: 'file',
    sizeBytes: 20 * 2 ** 30,
  });
  for await (const { entry } of readTar(inPieces(header, 512), { endMark: 'required' })) {
    expect(entry).toMatchObject({ sizeBytes: 20 * 2 ** 30 });
    break;
  }
});

test('a tar cut anywhere is refused', async () => {
  const tar = makeTar([
    { name: 'a', data: 'x'.repeat(700), xattrs: { 'user.a': Buffer.from('b') } },
    { name: 'd', is: directory },
  ]);
  for (let length = 0; length <= tar.length - 1024; length += 100) {
    await expect(readAll(tar.subarray(0, length)), `${length} bytes`).rejects.toMatchObject({
      code: 'ImageInvalid',
    });
  }
});

test('an end without mark is taken where something else vouches for the whole', async () => {
  const tar = makeTar([{ name: 'a', data: 'x' }]).subarray(0, 1024);
  await expect(readAll(tar)).rejects.toMatchObject({ code: 'ImageInvalid' });
  expect(await readAll(tar, 'optional')).toHaveLength(1);
});

/** Changes bytes of the first header and makes its sum right again. */
function forged(change: (header: Buffer) => void, data = ''): Buffer {
  const tar = makeTar([{ name: 'name', data }]);
  change(tar);
  tar.write('        ', 148);
  const sum = tar.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return tar;
}

const malformed: [what: string, tar: Buffer][] = [
  ['bytes that are no tar', Buffer.alloc(2048, 'no tar')],
  ['a wrong checksum', makeTar([{ name: 'a' }]).fill('7', 100, 106)],
  ['a size that is no number', forged((header) => header.write('12x4', 124))],
  ['a negative size', forged((header) => header.fill(0xff, 124, 136))],
  ['a size beyond all', forged((header) => header.fill(0x7f, 125, 136).fill(0x80, 124, 125))],
  ['a user id beyond all', forged((header) => header.fill(0x80, 108, 109).fill(0x7f, 109, 116))],
  ['a type that is unknown', forged((header) => header.write('9', 156))],
  ['a pax record without length', forged((header) => header.write('x', 156), 'path=a\n')],
  ['a pax record that is longer than its header', forged((header) => header.write('x', 156), '99 path=a\n')],
  ['a pax record without key', forged((header) => header.write('x', 156), '6 =ab\n')],
  ['a huge extended header', forged((header) => header.fill('x', 156, 157).write('77777777777', 124))],
];

test.each(malformed)('%s is refused', async (_what, tar) => {
  const error = await readAll(tar).catch((thrown: unknown) => thrown);
  expect(isAlcoveError(error, 'ImageInvalid'), String(error)).toBe(true);
});

test('sparse maps that lie are refused', async () => {
  const sparse = (map: readonly number[], sizeBytes: number) => {
    const pax = `GNU.sparse.map=${map.join(',')}`;
    const size = `GNU.sparse.size=${sizeBytes}`;
    const records = [pax, size].map((record) => {
      let length = record.length + 3;
      while (`${length} ${record}\n`.length !== length) length++;
      return `${length} ${record}\n`;
    });
    const before = forged((header) => header.write('x', 156), records.join(''));
    return Buffer.concat([before.subarray(0, -1024), makeTar([{ name: 'holes', data: 'd'.repeat(512) }])]);
  };
  const [read] = await readAll(sparse([1024, 512], 4096));
  expect(read?.entry).toMatchObject({ sizeBytes: 4096, sparse: [{ offset: 1024, size: 512 }] });
  const wrong: [map: readonly number[], size: number][] = [
    [[1024, 512], 1030],
    [[512, 256, 600, 256], 4096],
    [[1024, 511], 4096],
    [[1024], 4096],
    [[1024, 512], 2 ** 50],
  ];
  for (const [map, size] of wrong) {
    await expect(readAll(sparse(map, size)), String(map)).rejects.toMatchObject({ code: 'ImageInvalid' });
  }
});

test('damaged tars end in an error or an end, never in a crash', async () => {
  const tar = makeTar([
    { name: 'a'.repeat(200), data: 'x'.repeat(600), xattrs: { 'user.x': Buffer.from([0, 1, 255]) } },
    { name: 'b', is: directory },
  ]);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(tar.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      async (changes) => {
        const damaged = Buffer.from(tar);
        for (const [at, byte] of changes) damaged[at] = byte;
        const error = await readAll(damaged).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        if (error !== undefined) expect(isAlcoveError(error, 'ImageInvalid'), String(error)).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
});
