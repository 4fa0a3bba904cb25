import { idPattern } from '../../vm/index.ts';

/** What a backup's name says. */
export interface BackupName {
  sessionId: string;
  /** `YYYYmmddTHHMMSSZ` */
  stamp: string;
  /** From 1, which the name does not show. */
  sequence: number;
}

const ending = '.tar.zst';
// A session's id has no capitals, so the stamp is the last part, whatever the id looks like.
const pattern = /^(?<sessionId>.+)-(?<stamp>\d{8}T\d{6}Z)(?:-(?<sequence>[1-9]\d{0,8}))?\.tar\.zst$/;

/** @returns `undefined` for what cannot be the name of a backup; what can is safe as part of a path */
export function parseBackupName(name: string): BackupName | undefined {
  const found = pattern.exec(name)?.groups;
  if (!found) return undefined;
  const { sessionId = '', stamp = '' } = found;
  const sequence = Number(found.sequence ?? 1);
  if (!idPattern.test(sessionId) || (found.sequence !== undefined && sequence < 2)) return undefined;
  return Number.isNaN(stampMs(stamp)) ? undefined : { sessionId, stamp, sequence };
}

export function formatBackupName({ sessionId, stamp, sequence }: BackupName): string {
  return `${sessionId}-${stamp}${sequence === 1 ? '' : `-${sequence}`}${ending}`;
}

export function manifestName(name: string): string {
  return `${name.slice(0, -ending.length)}.json`;
}

/** The second of an instant, in UTC, as it stands in names. */
export function stampOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
}

/** When a name's second began; not a number when there is no such second. */
export function stampMs(stamp: string): number {
  const iso = stamp.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z');
  const ms = Date.parse(iso);
  return Number.isNaN(ms) || stampOf(ms) !== stamp ? Number.NaN : ms; // Date takes the 30th of February for the 1st of March.
}

/** Older first; names of one second in the order they were made. */
export function compareNames(a: BackupName, b: BackupName): number {
  if (a.stamp !== b.stamp) return a.stamp < b.stamp ? -1 : 1;
  if (a.sequence !== b.sequence) return a.sequence - b.sequence;
  return a.sessionId < b.sessionId ? -1 : a.sessionId > b.sessionId ? 1 : 0;
}
