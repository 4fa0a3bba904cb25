/** Characters that mean nothing to a POSIX shell wherever they stand. */
const plain = /^[A-Za-z0-9_@%+:,./-]+$/;

/** Words that are more than their letters where a program's name stands (POSIX.1-2017, 2.4, and those of other shells). */
const reserved =
  /^(if|then|else|elif|fi|do|done|case|esac|while|until|for|in|function|select|time|coproc|namespace)$/;

/**
 * One word is a shell line as it is; of several, each arrives at the program as it was given.
 *
 * @example
 * shellLine(['ls | wc -l']) // ls | wc -l
 * shellLine(['echo', 'a b', "it's"]) // echo 'a b' 'it'\''s'
 */
export function shellLine(words: readonly string[]): string {
  return words.length === 1 ? (words[0] as string) : words.map(quote).join(' ');
}

/** POSIX.1-2017, Shell Command Language, 2.2.2: within single quotes everything but a single quote is itself. */
function quote(word: string): string {
  return plain.test(word) && !reserved.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
