/** Most characters of a value that are shown. */
const maxShown = 200;
/** Of what is the same in both, so many characters are shown before the first that differs. */
const lead = 40;

/** Two values that differ, for people: of long ones the part where they do. */
export function shownTexts(before: string, after: string): { before: string; after: string } {
  let same = 0;
  while (same < before.length && same < after.length && before[same] === after[same]) same++;
  const from = Math.max(before.length, after.length) > maxShown ? Math.max(0, same - lead) : 0;
  return { before: shownText(before, from), after: shownText(after, from) };
}

/** A value for people: bounded, on one line, and nothing in it that a terminal obeys. */
export function shownText(text: string, from = 0): string {
  const part = text.slice(from, from + maxShown).replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, escaped);
  return `${from > 0 ? '…' : ''}${part}${text.length > from + maxShown ? '…' : ''}`;
}

function escaped(character: string): string {
  if (character === '\n') return '\\n';
  if (character === '\t') return '\\t';
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
