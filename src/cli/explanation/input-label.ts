/** An input's name as people read it: `inject./src/main.c` is `inject /src/main.c`, `file.Makefile` is `file Makefile`. */
export function inputLabel(input: string): string {
  return input.replace(/^(inject|file)\./, '$1 ');
}
