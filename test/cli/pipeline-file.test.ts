/** What a user's file may be, by Node's own loader: in processes of their own, where no bundler helps. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const program = new URL('../../bin/alcove.js', import.meta.url).pathname;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'cli-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

/** Loads a file as `alcove pipeline explain` does. Where all is well it has no state directory to go on with. */
function load(name: string, text: string | undefined, nodeOptions: string[] = []) {
  if (text !== undefined) writeFileSync(join(dir, name), text);
  const { status, stderr } = spawnSync(
    process.execPath,
    [...nodeOptions, program, '--json', 'pipeline', 'explain', name],
    { cwd: dir, encoding: 'utf8', env: { ...process.env, ALCOVE_STATE_DIR: '/proc/nowhere' } },
  );
  const lines = stderr.trimEnd().split('\n');
  const { error } = JSON.parse(lines[0] ?? '') as {
    error: { code: string; message: string; remedy: string };
  };
  return { status, lines, ...error };
}

describe.each([
  ['as Node does', []],
  // As Node before 22.18 is by itself.
  ['where Node does not', ['--no-strip-types']],
])('TypeScript is loaded %s', (_, nodeOptions) => {
  test('with what it imports, and says nothing by the way', () => {
    writeFileSync(join(dir, 'part.ts'), 'export const part: string = "a part";\n');
    const text = `import { part } from './part.ts';
      interface Shape { steps: Record<string, never> }
      export default (): Shape => { throw new Error(\`came to \${part satisfies string}\`); };`;
    expect(load('good.ts', text, nodeOptions)).toMatchObject({
      status: 2,
      code: 'PipelineInvalid',
      message: 'cannot load good.ts:3: came to a part',
      lines: { length: 1 },
    });
    expect(load('good.mts', text, nodeOptions).message).toBe('cannot load good.mts:3: came to a part');
  });

  test.each([
    ['syntax.ts', 'export default {\n steps: = 3\n};', /^cannot load syntax\.ts:2: \S/],
    ['enum.ts', 'enum A { B }\nexport default { steps: {} };', /^cannot load enum\.ts:1: .*enum/],
  ])('a mistake in %s is named with its line', (name, text, message) => {
    const found = load(name, text, nodeOptions);
    expect(found).toMatchObject({ status: 2, code: 'PipelineInvalid', lines: { length: 1 } });
    expect(found.message).toMatch(message);
  });
});

test.each([
  ['syntax.mjs', 'export default {\n a b\n};', /^cannot load syntax\.mjs:2: Unexpected identifier/],
  ['throws.js', 'export default { steps: missing };', /^cannot load throws\.js:1: missing is not defined/],
  ['rejects.mjs', 'export default async () => { throw "no"; };', /^cannot load rejects\.mjs: no$/],
  ['imports.mjs', 'import "./gone.mjs";\nexport default {};', /^cannot load imports\.mjs.*gone\.mjs/],
  ['none.mjs', 'export const pipeline = {};', /^none\.mjs has no default export/],
  [
    'nothing.mjs',
    'export default () => {};',
    /^nothing\.mjs has no default export, or one that returns nothing$/,
  ],
  ['number.mjs', 'export default 3;', /^number\.mjs exports by default what is no pipeline$/],
  ['null.mjs', 'export default null;', /^null\.mjs exports by default what is no pipeline$/],
  ['list.mjs', 'export default [];', /^list\.mjs exports by default what is no pipeline$/],
  ['base.mjs', 'export default { steps: {}, base: 3 };', /^base\.mjs has a base that is not a path$/],
  ['build.json', '{}', /^build\.json must be one of \.ts, \.mts, \.js, \.mjs$/],
  ['Makefile', '', /^Makefile must be one of/],
])('%s is refused, and why', (name, text, message) => {
  const found = load(name, text);
  expect(found).toMatchObject({ status: 2, code: 'PipelineInvalid' });
  expect(found.message).toMatch(message);
  expect(found.remedy).not.toBe('');
});

test.each([
  ['gone.ts', /^cannot read gone\.ts: ENOENT/],
  ['folder.ts', /^cannot read folder\.ts: it is not a file$/],
])('%s cannot be read', (name, message) => {
  mkdirSync(join(dir, 'folder.ts'), { recursive: true });
  const found = load(name, undefined);
  expect(found).toMatchObject({ status: 125, code: 'HostFile' });
  expect(found.message).toMatch(message);
});
