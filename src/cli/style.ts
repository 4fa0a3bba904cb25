import { styleText } from 'node:util';

/** Colours of the CLI; each returns its text unchanged where there are none. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  good(text: string): string;
  warning(text: string): string;
  bad(text: string): string;
}

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
  };
}
