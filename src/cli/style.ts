import { styleText } from 'node:util';

/** Colours of the CLI; each returns its text unchanged where there are none. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  good(text: string): string;
  warning(text: string): string;
  bad(text: string): string;
  /** One of a few colours that are told apart easily, the same for the same number. */
  hue(index: number, text: string): string;
}

const hues = [
  'cyan',
  'magenta',
  'yellow',
  'blue',
  'green',
  'cyanBright',
  'magentaBright',
  'yellowBright',
] as const;

type Format = Parameters<typeof styleText>[0];

export function createStyle(colours: 'on' | 'off'): Style {
  const paint = (format: Format) => (text: string) =>
    colours === 'on' ? styleText(format, text, { validateStream: false }) : text;
  return {
    bold: paint('bold'),
    dim: paint('dim'),
    good: paint('green'),
    warning: paint('yellow'),
    bad: paint(['bold', 'red']),
    hue: (index, text) => paint(hues[index % hues.length] ?? 'cyan')(text),
  };
}
