/** Remembers which step the last lines of output were of. */
export class ShownLines {
  #step: string | undefined;
  #count = 0;

  add(step: string): void {
    this.#count = this.#step === step ? this.#count + 1 : 1;
    this.#step = step;
  }

  /** Whether so many lines of a step were the last ones. */
  endWith(step: string, lines: number): boolean {
    return this.#step === step && this.#count >= lines;
  }
}
