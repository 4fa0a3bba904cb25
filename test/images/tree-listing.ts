import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { runTool } from '../../src/host/index.ts';

/**
 * A directory tree as text, one line a file: name, type and mode, owners, time, and what it holds. Two trees are the same
 * when their listings are. Names are byte strings.
 */
export async function listTree(root: string): Promise<Map<string, string>> {
  const lines = new Map<string, string>();
  const xattrs = await listXattrs(root);
  const names = new Map<number, string[]>();
  const pending = ['.'];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const place = Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
    const facts = lstatSync(place);
    const what = [facts.mode.toString(8), facts.uid, facts.gid, Math.floor(facts.mtimeMs / 1000)];
    if (facts.isDirectory()) {
      for (const name of readdirSync(place, 'latin1')) pending.push(`${path}/${name}`);
    } else {
      names.set(facts.ino, [...(names.get(facts.ino) ?? []), path].sort());
    }
    if (facts.isFile()) what.push(createHash('sha256').update(readFileSync(place)).digest('hex'), facts.size);
    if (facts.isSymbolicLink()) what.push(readlinkSync(place, 'latin1'));
    if (facts.isCharacterDevice() || facts.isBlockDevice()) what.push(facts.rdev);
    lines.set(path, [...what, xattrs.get(path) ?? ''].join(' '));
  }
  for (const same of names.values()) {
    if (same.length > 1) for (const path of same) lines.set(path, `${lines.get(path)} is ${same.join(' ')}`);
  }
  return lines;
}

/** Unpacks a squashfs with all its owners, devices and attributes; needs root. */
export async function unpackSquashfs(squashfs: string, to: string): Promise<void> {
  await runTool('unsquashfs', ['-quiet', '-no-progress', '-dest', to, squashfs]);
}

/** Extended attributes by name, as getfattr writes them. */
async function listXattrs(root: string): Promise<Map<string, string>> {
  const script = 'cd "$1" && find . -print0 | xargs -0 getfattr --no-dereference -d -m - -e hex';
  const { stdout } = await runTool('sh', ['-c', script, 'sh', root], {
    cwd: tmpdir(),
    maxOutputBytes: 64 << 20,
  });
  const found = new Map<string, string>();
  for (const block of stdout.split('\n\n')) {
    const [head = '', ...attributes] = block.split('\n').filter(Boolean);
    if (!head.startsWith('# file: ')) continue;
    const name = head
      .slice('# file: '.length)
      .replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    found.set(name.startsWith('./') || name === '.' ? name : `./${name}`, attributes.sort().join(' '));
  }
  return found;
}

/** A listing to compare: sorted lines. */
export function asLines(listing: ReadonlyMap<string, string>): string[] {
  return [...listing].map(([path, what]) => `${path} ${what}`).sort();
}
