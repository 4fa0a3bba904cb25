import type { BackupInfo } from '../../sessions/index.ts';
import { formatAge, formatBytes } from '../human.ts';
import type { Column } from '../table.ts';

/** Of backups that are listed. Of an archive that was made by hand nobody counted what is in it. */
export function backupColumns(now: number): Column<BackupInfo>[] {
  return [
    { title: 'BACKUP', value: ({ name }) => name },
    { title: 'MADE', value: ({ createdAtMs }) => formatAge(createdAtMs, now) },
    { title: 'SIZE', value: ({ fileBytes }) => formatBytes(fileBytes), align: 'right' },
    { title: 'FILES', value: ({ manifest }) => String(manifest?.entries.files ?? '-'), align: 'right' },
    {
      title: 'CONTENT',
      value: ({ manifest }) => (manifest ? formatBytes(manifest.contentBytes) : '-'),
      align: 'right',
    },
  ];
}
