/**
 * What programs in the guest have set in the terminal here ("XTerm Control Sequences"; kitty's keyboard protocol), so that it can be undone
 * when the terminal leaves them: another screen, mouse reports, a hidden cursor, colours.
 */
export class TerminalModes {
  /** Private modes (DECSET) that are not as they usually are. */
  readonly #modes = new Set<number>();
  #unfinished = '';
  #coloured = false;
  #margins = false;
  #keypad = false;
  #cursorShape = false;
  #otherKeys = false;
  #keyboards = 0;

  note(chunk: Uint8Array): void {
    const text = this.#unfinished + Buffer.from(chunk).toString('latin1');
    for (const match of text.matchAll(sequence)) this.#take(match.groups ?? {});
    this.#unfinished = unfinished.exec(text)?.[0] ?? '';
  }

  /** What to write to have the terminal as it was; empty when nothing is to be undone. */
  undo(): string {
    const modes = [...this.#modes].map((mode) => `${esc}[?${mode}${usuallyOn.has(mode) ? 'h' : 'l'}`);
    return [
      this.#keyboards > 0 && `${esc}[<${this.#keyboards}u`,
      this.#otherKeys && `${esc}[>4m`,
      this.#margins && `${esc}7${esc}[r${esc}8`, // Setting margins moves the cursor.
      ...modes,
      this.#keypad && `${esc}>`,
      this.#cursorShape && `${esc}[0 q`,
      this.#coloured && `${esc}[0m`,
    ]
      .filter(Boolean)
      .join('');
  }

  #take({
    modes,
    set,
    sgr,
    margins,
    keypad,
    shape,
    other,
    push,
    pop,
  }: Record<string, string | undefined>): void {
    if (modes !== undefined) {
      for (const mode of modes.split(';').map(Number)) {
        if ((set === 'h') === usuallyOn.has(mode)) this.#modes.delete(mode);
        else this.#modes.add(mode);
      }
    }
    if (sgr !== undefined) this.#coloured = !/^(.*;)?0*$/.test(sgr);
    if (margins !== undefined) this.#margins = margins !== '';
    if (keypad !== undefined) this.#keypad = keypad === '=';
    if (shape !== undefined) this.#cursorShape = !/^0?$/.test(shape);
    if (other !== undefined) this.#otherKeys = /;[1-9]/.test(other);
    if (push !== undefined) this.#keyboards++;
    if (pop !== undefined) this.#keyboards = Math.max(0, this.#keyboards - Number(pop || '1'));
  }
}

const esc = '\x1b';

/** Automatic wrap, repeat of keys, the cursor. */
const usuallyOn = new Set([7, 8, 25]);

const sequence = new RegExp(
  [
    String.raw`${esc}\[\?(?<modes>[\d;]+)(?<set>[hl])`,
    String.raw`${esc}\[(?<sgr>[\d;:]*)m`,
    String.raw`${esc}\[(?<margins>[\d;]*)r`,
    `${esc}(?<keypad>[=>])`,
    String.raw`${esc}\[(?<shape>\d*) q`,
    String.raw`${esc}\[>4(?<other>[\d;]*)m`,
    String.raw`${esc}\[>(?<push>\d*)u`,
    String.raw`${esc}\[<(?<pop>\d*)u`,
  ].join('|'),
  'g',
);

/** The beginning of one of them at the end of a chunk. */
const unfinished = new RegExp(String.raw`${esc}(\[[?<>\d;: ]{0,60})?$`);
