/**
 * Labels as they travel. Those that begin with `alcove.` are Alcove's own, and say something of the state directory that the snapshot is
 * in: they are neither exported nor taken from an archive.
 */
export function portableLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([name]) => !name.startsWith('alcove.')));
}
