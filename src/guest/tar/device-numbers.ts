/** As makedev(3) of glibc packs them. */
export function deviceMajor(rdev: number): number {
  return (rdev >> 8) & 0xfff;
}

export function deviceMinor(rdev: number): number {
  return (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
}
