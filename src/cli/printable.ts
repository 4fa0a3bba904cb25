/** Text that others wrote (guests, tools, labels), without what would drive the terminal. Line breaks and tabs stay. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '');
}
