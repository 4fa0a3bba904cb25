import { AlcoveError } from '../../errors.ts';

/** The error of an archive with an entry that is refused. */
export function badEntry(name: string, problem: string): AlcoveError<'InvalidInput'> {
  const shown = JSON.stringify(name.slice(0, 200));
  return new AlcoveError('InvalidInput', `the archive's entry ${shown} ${problem}`, {
    remedy: 'Nothing was written outside the destination; do not trust this archive.',
    details: { field: 'tar' },
  });
}

/** The parts of an entry's name below the destination; none for the destination itself. @throws AlcoveError `InvalidInput` */
export function entryParts(name: string): string[] {
  if (name.startsWith('/')) throw badEntry(name, 'has an absolute name');
  if (name.includes('\0')) throw badEntry(name, 'has a name with NUL');
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw badEntry(name, 'has a name with ..');
  return parts;
}

/**
 * Whether a symlink with that target leads out of the destination. Its parents are `depth` real directories; `..` is
 * allowed only before everything else, where it climbs those: behind another name it could climb from wherever that
 * name, as a link, leads.
 */
export function leadsOut(target: string, depth: number): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return true;
  const parts = target.split('/').filter((part) => part !== '' && part !== '.');
  const climbs = parts.findIndex((part) => part !== '..');
  const count = climbs < 0 ? parts.length : climbs;
  return count > depth || parts.includes('..', count);
}
