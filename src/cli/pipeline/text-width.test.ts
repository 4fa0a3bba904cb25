import { expect, test } from 'vitest';
import { cutToWidth, textWidth } from './text-width.ts';

test.each([
  ['', 0],
  ['plain', 5],
  ['é', 1],
  ['e\u0301', 1],
  ['图像', 4],
  ['한국', 4],
  ['🚀', 2],
  ['…✓', 2],
])('%s takes %i columns', (text, columns) => {
  expect(textWidth(text)).toBe(columns);
});

test.each([
  ['plain', 5, 'plain'],
  ['plain', 4, 'pla…'],
  ['图像', 3, '图…'],
  ['图像', 2, '…'],
  ['plain', 1, '…'],
  ['plain', 0, ''],
])('%s in %i columns is %s', (text, columns, cut) => {
  expect(cutToWidth(text, columns)).toBe(cut);
});
