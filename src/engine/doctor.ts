/** What `alcove doctor` says: every requirement, found or not, and what mends it. */
export interface DoctorReport {
  /** Whether VMs can run here. */
  usable: boolean;
  checks: DoctorCheck[];
}

export interface DoctorCheck {
  name: string;
  /** `missing` stops VMs from running; `degraded` only makes something slower or absent. */
  state: 'ok' | 'degraded' | 'missing';
  /** What was found, e.g. a version. */
  found: string;
  /** The exact command that mends it. */
  remedy?: string;
}
