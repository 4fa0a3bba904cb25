/** A key as listed: of a made one the first 12 digits, which name it; of a caller's at most 40 characters. */
export function shortKey(key: string): string {
  const made = /^(.*[^0-9a-f])?([0-9a-f]{12})[0-9a-f]{52}$/.exec(key);
  if (made) return `${made[1] ?? ''}${made[2]}`;
  const characters = [...key.replace(/\p{C}+/gu, ' ')];
  return characters.length <= 40 ? characters.join('') : `${characters.slice(0, 39).join('')}…`;
}
