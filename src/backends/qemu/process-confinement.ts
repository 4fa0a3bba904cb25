import { readFileSync, readlinkSync } from 'node:fs';
import { AlcoveError } from '../../errors.ts';

/** What a confined QEMU must look like from outside. */
export interface ExpectedConfinement {
  /** `undefined`: it stays the engine's own user. */
  uid: number | undefined;
  /** Its root directory, when it changes it. */
  root: string | undefined;
}

/**
 * Looks at a process that has answered on its monitor but not yet run its guest, and refuses it unless all it was told to give
 * up is given up.
 *
 * @throws AlcoveError `BackendUnavailable`
 */
export function assertConfined(pid: number, expected: ExpectedConfinement): void {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1]?.trim() ?? '';
  const faults: string[] = [];
  if (field('Seccomp') !== '2') faults.push('its system calls are not filtered');
  if (field('NoNewPrivs') !== '1') faults.push('it may gain privileges');
  if (expected.uid !== undefined) {
    const uid = String(expected.uid);
    for (const name of ['Uid', 'Gid'])
      if (
        !field(name)
          .split(/\s+/)
          .every((value) => value === uid)
      )
        faults.push(`${name} is ${field(name)}`);
    if (
      field('Groups')
        .split(/\s+/)
        .some((value) => value !== '' && value !== uid)
    )
      faults.push(`its groups are ${field('Groups')}`);
    if (!/^0*$/.test(field('CapEff'))) faults.push(`its capabilities are ${field('CapEff')}`);
  }
  if (expected.root !== undefined && readlinkSync(`/proc/${pid}/root`) !== expected.root)
    faults.push('it sees the whole file system');
  if (faults.length === 0) return;
  throw new AlcoveError('BackendUnavailable', `QEMU is not confined as it should be: ${faults.join('; ')}`, {
    remedy: 'Report this with the output of `alcove doctor`; the machine was not started.',
  });
}
