import { open } from 'node:fs/promises';
import { AlcoveError } from '../../errors.ts';
import type { TarAttributes } from '../tar/tar-entry.ts';

/** Places in a squashfs 4.0 superblock (kernel: fs/squashfs/squashfs_fs.h). */
const superblock = {
  magic: 0x73717368,
  ids: 0x1a,
  rootInode: 0x20,
  idTable: 0x30,
  inodeTable: 0x40,
  size: 96,
};

/** A metadata block holds 8 KiB and has a header of two bytes, whose highest bit says "not compressed". */
const metadataBytes = 8192;
const notCompressed = 0x8000;

/**
 * Sets owner and time of a squashfs's root directory, in place. Its inodes must not be compressed (`-noI`).
 *
 * mksquashfs 4.5 takes no `-root-uid`, `-root-gid` or `-root-time` when it reads a tar: it sets the user who ran it, and the
 * time at which it did, so that the same image would never give the same bytes twice.
 *
 * @throws AlcoveError `ImageInvalid` when the owner is none that anything else in the image has
 */
export async function setRootOwnerAndTime(path: string, root: TarAttributes): Promise<void> {
  await using file = await open(path, 'r+');
  const read = async (at: number, size: number) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, at);
    if (bytesRead < size) throw new AlcoveError('Internal', `${path} is no whole squashfs`);
    return buffer;
  };
  const head = await read(0, superblock.size);
  if (head.readUInt32LE(0) !== superblock.magic) throw new AlcoveError('Internal', `${path} is no squashfs`);

  const idCount = head.readUInt16LE(superblock.ids);
  const idIndex = Number(head.readBigUInt64LE(superblock.idTable));
  const ids: number[] = [];
  for (let first = 0; first < idCount; first += metadataBytes / 4) {
    const block = Number((await read(idIndex + (first / (metadataBytes / 4)) * 8, 8)).readBigUInt64LE());
    await expectPlain(block);
    const count = Math.min(idCount - first, metadataBytes / 4);
    const table = await read(block + 2, count * 4);
    for (let index = 0; index < count; index++) ids.push(table.readUInt32LE(index * 4));
  }
  const indexOfId = (id: number) => {
    const index = ids.indexOf(id);
    if (index >= 0) return index;
    throw new AlcoveError(
      'ImageInvalid',
      `the root of the image belongs to ${id}, which owns nothing in it`,
      {
        remedy: 'Give the root directory of the image an owner who has files in it, such as root.',
      },
    );
  };

  // An inode starts with type, mode, owner, group (16 bits each) and time (32 bits); it may go over the end of a block.
  const reference = head.readBigUInt64LE(superblock.rootInode);
  const table = Number(head.readBigUInt64LE(superblock.inodeTable));
  const block = table + Number(reference >> 16n);
  const inBlock = Number(reference & 0xffffn);
  await expectPlain(block);
  const fields = Buffer.alloc(8);
  fields.writeUInt16LE(indexOfId(root.uid), 0);
  fields.writeUInt16LE(indexOfId(root.gid), 2);
  fields.writeUInt32LE(root.mtimeS, 4);
  for (const [index, byte] of fields.entries()) {
    const at = inBlock + 4 + index;
    const next = at >= metadataBytes ? 2 : 0; // the header of the block after it
    await file.write(Buffer.of(byte), 0, 1, block + 2 + at + next);
  }
  await file.sync();

  async function expectPlain(at: number): Promise<void> {
    if (((await read(at, 2)).readUInt16LE() & notCompressed) === 0) {
      throw new AlcoveError('Internal', `${path} has compressed inodes`);
    }
  }
}
