import { expect, test } from 'vitest';
import { findViolations } from './check-imports.ts';

const cases: [name: string, file: string, text: string, violations: number][] = [
  ['downwards', 'vm/a.ts', `import { b } from '../guest/b.ts';`, 0],
  ['within a folder', 'vm/a.ts', `import { b } from './b.ts';`, 0],
  ['upwards', 'guest/a.ts', `import { b } from '../vm/b.ts';`, 1],
  ['sideways', 'images/a.ts', `import { b } from '../guest/b.ts';`, 1],
  ['between backends', 'backends/qemu/a.ts', `import { b } from '../memory/b.ts';`, 1],
  [
    'a backend that takes types of the contract',
    'backends/qemu/a.ts',
    `import type { B } from '../../vm/backend.ts';`,
    0,
  ],
  ['a backend that takes code of the runtime', 'backends/qemu/a.ts', `import { b } from '../../vm/b.ts';`, 1],
  ['over several lines', 'store/a.ts', `import {\n  b,\n  c,\n} from '../cli/b.ts';`, 1],
  ['a re-export', 'host/a.ts', `export * from '../store/b.ts';`, 1],
  ['a dynamic import', 'guest/a.ts', `const x = await import('../engine/b.ts');`, 1],
  ['out of src', 'host/a.ts', `import '../../scripts/b.ts';`, 1],
];

test.each(cases)('an import %s', (_name, file, text, violations) => {
  expect(findViolations(new Map([[file, text]]))).toHaveLength(violations);
});
