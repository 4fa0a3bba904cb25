import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isAlcoveError } from '../../src/errors.ts';
import type { FileStat, GuestChannel, GuestConnection } from '../../src/guest/index.ts';
import { lines } from './guest-lines.ts';
import { expectRefusal, type Suite } from './harness.ts';

const vm = 'files';

/** Files and ports of a guest. One boot. */
export function describeFilesAndPorts(suite: Suite): void {
  describe('files and ports', () => {
    let guest: GuestChannel;
    beforeAll(async () => {
      await suite.boot(vm);
      guest = await suite.runtime.guest(vm);
    });
    afterAll(async () => suite.runtime.destroy(vm));

    test('a file is written, read whole and in part, and described', async () => {
      await guest.files.mkdir('/root/dir/deep', { parents: true });
      await guest.files.write('/root/dir/deep/file', 'hello, world', { mode: 0o640, uid: 12, gid: 34 });
      expect(await text(guest.files.read('/root/dir/deep/file'))).toBe('hello, world');
      expect(await text(guest.files.read('/root/dir/deep/file', { offset: 7, length: 3 }))).toBe('wor');
      expect(await guest.files.stat('/root/dir/deep/file')).toMatchObject({
        path: '/root/dir/deep/file',
        kind: 'file',
        size: 12,
        mode: 0o640,
        uid: 12,
        gid: 34,
      });
      await guest.files.write('/root/dir/deep/file', '!', { append: true });
      expect(await text(guest.files.read('/root/dir/deep/file'))).toBe('hello, world!');
    });

    test('commands see the same files', async () => {
      await guest.files.write('/root/note', 'from outside\n');
      expect(await suite.run(vm, lines.readNote)).toBe('from outside\n');
    });

    test('a folder is listed by name, and things are renamed and removed', async () => {
      for (const name of ['b', 'a', 'c']) await guest.files.write(`/root/dir/${name}`, name);
      expect(await names(guest.files.list('/root/dir'))).toEqual(['a', 'b', 'c', 'deep']);
      await guest.files.rename('/root/dir/a', '/root/dir/z');
      await guest.files.remove('/root/dir/b');
      await guest.files.remove('/root/dir/deep', { recursive: true });
      expect(await names(guest.files.list('/root/dir'))).toEqual(['c', 'z']);
    });

    test('what cannot be done is said with the errno', async () => {
      const { files } = guest;
      await expectRefusal(text(files.read('/nowhere')), 'GuestFile', { errno: 'ENOENT' });
      await expectRefusal(files.stat('/nowhere/below'), 'GuestFile', { errno: 'ENOENT' });
      await expectRefusal(files.mkdir('/root/dir'), 'GuestFile', { errno: 'EEXIST' });
      await expectRefusal(files.remove('/root/dir'), 'GuestFile', { errno: 'ENOTEMPTY' });
      await expectRefusal(text(files.read('/root/dir')), 'GuestFile', { errno: 'EISDIR' });
    });

    test('a tree goes out as tar and comes in again elsewhere', async () => {
      await guest.files.write('/root/dir/large', new Uint8Array(300_000).fill(7));
      await guest.files.tarIn('/root/copy', guest.files.tarOut('/root/dir'));
      expect(await names(guest.files.list('/root/copy'))).toEqual(['c', 'large', 'z']);
      expect((await guest.files.stat('/root/copy/large')).size).toBe(300_000);
      expect(await text(guest.files.read('/root/copy/z'))).toBe('a');
    });

    test('a port is reached where somebody listens, and refused where nobody does', async () => {
      await expectRefusal(guest.dial(7778), 'GuestFile', { errno: 'ECONNREFUSED' });
      await using _server = await suite.runtime.spawn(vm, { command: lines.listen });
      await using connection = await dialWhenListening();
      await connection.writable.end();
      expect(await text(connection.readable)).toBe('hello\n');
    });

    /** A listener cannot say that it listens; so it is asked until it does. */
    async function dialWhenListening(): Promise<GuestConnection> {
      for (let tries = 0; ; tries++) {
        try {
          return await guest.dial(7777);
        } catch (error) {
          if (tries > 100 || !isAlcoveError(error, 'GuestFile')) throw error;
          await suite.run(vm, lines.moment);
        }
      }
    }
  });
}

async function text(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

async function names(entries: AsyncIterable<FileStat>): Promise<string[]> {
  const found: string[] = [];
  for await (const { path } of entries) found.push(path.slice(path.lastIndexOf('/') + 1));
  return found;
}
