import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { directory, hardLink, type MadeEntry, makeTar, symlink } from '../../../test/images/make-tar.ts';
import { digestOf } from '../digest.ts';
import { readTar } from '../tar/tar-reader.ts';
import type { Layer } from './layer.ts';
import { readLayers } from './read-layers.ts';
import { writeTree } from './write-tree.ts';

const { signal } = new AbortController();

function layerOf(tar: Buffer, whiteouts: Layer['whiteouts'] = 'apply'): Layer {
  return {
    name: 'a layer',
    whiteouts,
    open: async function* () {
      yield tar;
    },
  };
}

/** What the merged image holds, one line an entry: name, and what it is. */
async function merged(...layers: (readonly MadeEntry[])[]): Promise<string[]> {
  const read = await readLayers(
    layers.map((entries) => layerOf(makeTar(entries))),
    signal,
  );
  const lines: string[] = [];
  for await (const { entry, content } of readTar(writeTree(read, signal), { endMark: 'required' })) {
    const data: Buffer[] = [];
    for await (const chunk of content()) data.push(Buffer.from(chunk));
    const { name, attributes } = entry;
    const mode = attributes.mode.toString(8);
    if (entry.kind === 'directory') lines.push(`${name}/ ${mode}`);
    else if (entry.kind === 'file') lines.push(`${name} "${Buffer.concat(data)}"`);
    else if (entry.kind === 'symlink') lines.push(`${name} -> ${entry.target}`);
    else if (entry.kind === 'hard-link') lines.push(`${name} = ${entry.target}`);
    else lines.push(`${name} ${entry.kind}`);
  }
  return lines.sort();
}

const cases: [what: string, layers: (readonly MadeEntry[])[], expected: string[]][] = [
  ['no layer', [], []],
  [
    'leading slashes and dots mean nothing',
    [[{ name: './a', data: 'a' }, { name: '/b/', is: directory }, { name: '//b/./c' }]],
    ['a "a"', 'b/ 755', 'b/c ""'],
  ],
  ['a file is replaced', [[{ name: 'a', data: 'old' }], [{ name: 'a', data: 'new' }]], ['a "new"']],
  [
    'the last of two entries in one layer counts',
    [
      [
        { name: 'a', data: 'old' },
        { name: 'a', data: 'new' },
      ],
    ],
    ['a "new"'],
  ],
  [
    'a directory keeps what is in it when its mode changes',
    [[{ name: 'd', is: directory }, { name: 'd/a' }], [{ name: 'd', is: directory, mode: 0o700 }]],
    ['d/ 700', 'd/a ""'],
  ],
  [
    'a directory replaces a file',
    [[{ name: 'a', data: 'x' }], [{ name: 'a', is: directory }, { name: 'a/b' }]],
    ['a/ 755', 'a/b ""'],
  ],
  [
    'a file replaces a directory',
    [[{ name: 'd', is: directory }, { name: 'd/a' }], [{ name: 'd', data: 'x' }]],
    ['d "x"'],
  ],
  [
    'a file of a lower layer gives way to a directory on the way',
    [[{ name: 'd', data: 'x' }], [{ name: 'd/a' }]],
    ['d/ 755', 'd/a ""'],
  ],
  ['a symlink replaces a directory', [[{ name: 'd/a' }], [{ name: 'd', is: symlink('e') }]], ['d -> e']],
  ['directories that are only implied are made', [[{ name: 'a/b/c' }]], ['a/ 755', 'a/b/ 755', 'a/b/c ""']],
  [
    'a whiteout removes a file',
    [[{ name: 'd/a' }, { name: 'd/b' }], [{ name: 'd/.wh.a' }]],
    ['d/ 755', 'd/b ""'],
  ],
  [
    'a whiteout removes a whole directory',
    [[{ name: 'd/a/b/c' }, { name: 'e' }], [{ name: '.wh.d' }]],
    ['e ""'],
  ],
  [
    'a whiteout of what is not there does nothing',
    [[{ name: 'a' }], [{ name: '.wh.b' }, { name: 'x/.wh.y' }]],
    ['a ""'],
  ],
  [
    'a whiteout does not touch its own layer, before it',
    [[{ name: 'a', data: 'old' }], [{ name: 'a', data: 'new' }, { name: '.wh.a' }]],
    ['a "new"'],
  ],
  [
    'a whiteout does not touch its own layer, after it',
    [[{ name: 'd/old' }], [{ name: '.wh.d' }, { name: 'd', is: directory, mode: 0o700 }, { name: 'd/new' }]],
    ['d/ 700', 'd/new ""'],
  ],
  [
    'a whiteout leaves what its own layer put below',
    [
      [{ name: 'd', is: directory, mode: 0o700 }, { name: 'd/old' }],
      [{ name: 'd/new' }, { name: '.wh.d' }],
    ],
    ['d/ 755', 'd/new ""'],
  ],
  [
    'an opaque directory hides what lower layers had',
    [
      [{ name: 'd/a' }, { name: 'd/b/c' }],
      [{ name: 'd', is: directory }, { name: 'd/.wh..wh..opq' }, { name: 'd/n' }],
    ],
    ['d/ 755', 'd/n ""'],
  ],
  [
    'an opaque mark at the end of its layer',
    [[{ name: 'd/a' }], [{ name: 'd/n/m' }, { name: 'd/.wh..wh..opq' }]],
    ['d/ 755', 'd/n/ 755', 'd/n/m ""'],
  ],
  [
    'a removed file comes back',
    [[{ name: 'a', data: '1' }], [{ name: '.wh.a' }], [{ name: 'a', data: '3' }]],
    ['a "3"'],
  ],
  [
    'bookkeeping of AUFS is no file',
    [
      [
        { name: '.wh..wh.plnk', is: directory },
        { name: '.wh..wh.plnk/x' },
        { name: '.wh..wh.aufs' },
        { name: 'a' },
      ],
    ],
    ['a ""'],
  ],
  [
    'a hard link to a file of its layer',
    [
      [
        { name: 'b', data: 'x' },
        { name: 'a', is: hardLink('./b') },
      ],
    ],
    ['a "x"', 'b = a'],
  ],
  [
    'a hard link to a file of a lower layer',
    [[{ name: 'd/a', data: 'x' }], [{ name: 'z', is: hardLink('d/a') }]],
    ['d/ 755', 'd/a = z', 'z "x"'],
  ],
  [
    'a hard link keeps the file whose first name goes',
    [[{ name: 'a', data: 'x' }], [{ name: 'b', is: hardLink('a') }], [{ name: '.wh.a' }]],
    ['b "x"'],
  ],
  [
    'a hard link keeps the file whose first name is replaced',
    [
      [
        { name: 'a', data: 'x' },
        { name: 'b', is: hardLink('a') },
      ],
      [{ name: 'a', data: 'y' }],
    ],
    ['a "y"', 'b "x"'],
  ],
  [
    'a hard link to an empty file, and to a symlink',
    [
      [
        { name: 'e' },
        { name: 'f', is: hardLink('e') },
        { name: 's', is: symlink('e') },
        { name: 't', is: hardLink('s') },
      ],
    ],
    ['e ""', 'f = e', 's -> e', 't = s'],
  ],
  [
    'an entry below a symlink goes where it points, inside the image',
    [
      [
        { name: 'usr/lib', is: directory },
        { name: 'lib', is: symlink('usr/lib') },
      ],
      [{ name: 'lib/a' }],
    ],
    ['lib -> usr/lib', 'usr/ 755', 'usr/lib/ 755', 'usr/lib/a ""'],
  ],
  [
    'a symlink out of the image stays in it',
    [
      [
        { name: 'out', is: symlink('../../../../etc') },
        { name: 'abs', is: symlink('/etc') },
        { name: 'etc', is: directory },
        { name: 'out/a' },
        { name: 'abs/b' },
      ],
    ],
    ['abs -> /etc', 'etc/ 755', 'etc/a ""', 'etc/b ""', 'out -> ../../../../etc'],
  ],
  [
    'a whiteout below a symlink',
    [[{ name: 'usr/lib/a' }, { name: 'lib', is: symlink('usr/lib') }], [{ name: 'lib/.wh.a' }]],
    ['lib -> usr/lib', 'usr/ 755', 'usr/lib/ 755'],
  ],
  [
    'devices and pipes',
    [
      [
        { name: 'c', is: { kind: 'character-device', major: 1, minor: 3 } },
        { name: 'b', is: { kind: 'block-device', major: 7, minor: 0 } },
        { name: 'p', is: { kind: 'fifo' } },
      ],
    ],
    ['b block-device', 'c character-device', 'p fifo'],
  ],
  [
    'names that objects have of themselves',
    [[{ name: '__proto__/constructor', data: 'x' }, { name: 'toString' }]],
    ['__proto__/ 755', '__proto__/constructor "x"', 'toString ""'],
  ],
];

test.each(cases)('%s', async (_what, layers, expected) => {
  expect(await merged(...layers)).toEqual(expected.sort());
});

const refused: [what: string, layers: (readonly MadeEntry[])[]][] = [
  ['a name with ..', [[{ name: 'a/../../etc/passwd' }]]],
  ['a name that is ..', [[{ name: '..', is: directory }]]],
  ['a .. that would stay inside', [[{ name: 'a/../b' }]]],
  ['an absolute name with ..', [[{ name: '/../x' }]]],
  ['an empty name', [[{ name: '' }]]],
  ['a root that is no directory', [[{ name: './', is: symlink('/etc') }]]],
  ['a hard link out of the image', [[{ name: 'a', is: hardLink('../../etc/passwd') }]]],
  ['a hard link to nothing', [[{ name: 'a', is: hardLink('/etc/passwd') }]]],
  [
    'a hard link to a directory',
    [
      [
        { name: 'd', is: directory },
        { name: 'a', is: hardLink('d') },
      ],
    ],
  ],
  ['a hard link to the root', [[{ name: 'a', is: hardLink('/') }]]],
  ['a hard link to itself', [[{ name: 'a', is: hardLink('a') }]]],
  ['a file in a file', [[{ name: 'a', data: 'x' }, { name: 'a/b' }]]],
  [
    'a loop of symlinks',
    [[{ name: 'a', is: symlink('b') }, { name: 'b', is: symlink('a') }, { name: 'a/x' }]],
  ],
  ['a symlink to itself through a directory', [[{ name: 'd/a', is: symlink('../d/a') }, { name: 'd/a/x' }]]],
  ['a whiteout of nothing', [[{ name: 'd/.wh.' }]]],
  ['a whiteout of ..', [[{ name: 'd/.wh...' }]]],
  ['a name longer than 255 bytes', [[{ name: 'n'.repeat(256) }]]],
  ['a path longer than 4095 bytes', [[{ name: `${'d/'.repeat(2100)}x` }]]],
];

test.each(refused)('%s is refused', async (_what, layers) => {
  await expect(merged(...layers)).rejects.toMatchObject({ code: 'ImageInvalid' });
});

test('in a tar that is no layer, names that look like whiteouts are names', async () => {
  const tar = makeTar([{ name: 'a' }, { name: '.wh.a' }]);
  const { tree } = await readLayers([layerOf(tar, 'literal')], signal);
  expect([...tree.root.children.keys()]).toEqual(['a', '.wh.a']);
});

test('attributes that are commands to overlayfs, or that squashfs cannot hold, are left out', async () => {
  const tar = makeTar([
    {
      name: 'd',
      is: directory,
      xattrs: {
        'trusted.overlay.opaque': Buffer.from('y'),
        'user.overlay.redirect': Buffer.from('/etc'),
        'system.posix_acl_access': Buffer.from('x'),
        'user.kept': Buffer.from([0, 255]),
      },
    },
  ]);
  const { tree } = await readLayers([layerOf(tar)], signal);
  expect(tree.root.children.get('d')).toMatchObject({
    attributes: { xattrs: new Map([['user.kept', Buffer.from([0, 255])]]) },
  });
});

const tar = makeTar([{ name: 'a', data: 'x' }]);
const lies: [what: string, layer: Layer][] = [
  ['compressed bytes', { ...layerOf(gzipSync(tar)), digest: digestOf(tar) }],
  ['uncompressed bytes', { ...layerOf(gzipSync(tar)), diffId: digestOf('other') }],
];

test.each(lies)('a layer whose %s are not what is stated is refused', async (_what, layer) => {
  await expect(readLayers([layer], signal)).rejects.toMatchObject({
    code: 'ImageInvalid',
    message: expect.stringContaining('a layer is not what its digest'),
  });
});

test('a layer that changes between its two readings is refused', async () => {
  let times = 0;
  const layer: Layer = {
    name: 'a layer',
    whiteouts: 'literal',
    open: async function* () {
      yield times++ === 0 ? tar : makeTar([{ name: 'a', data: 'y' }]);
    },
  };
  const read = await readLayers([layer], signal);
  const write = async () => {
    for await (const _ of writeTree(read, signal));
  };
  await expect(write()).rejects.toMatchObject({ code: 'ImageInvalid' });
});
