/** What is known of the installed QEMU. */
export interface QemuVersion {
  /** As it says of itself, e.g. `7.2.22`. */
  text: string;
  major: number;
  minor: number;
  /** Has the small firmware that starts a kernel 10 ms sooner. */
  qboot: boolean;
}

/** Reads `qemu-system-x86_64 --version`. */
export function parseQemuVersion(output: string): Omit<QemuVersion, 'qboot'> | undefined {
  const match = /version (\d+)\.(\d+)\.(\d+)/.exec(output);
  if (!match) return undefined;
  return { text: `${match[1]}.${match[2]}.${match[3]}`, major: Number(match[1]), minor: Number(match[2]) };
}
