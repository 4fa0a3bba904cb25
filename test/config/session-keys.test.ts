import { describe, expect, test } from 'vitest';
import { configSchema } from '../../src/config/index.ts';
import { type Case, cases, type Written } from './session-key-table.ts';
import { file, load, refusal, type Said } from './session-settings-fixture.ts';

/** Every way in: how it says one key, what a wrong one is called, and where it is said to be. */
const ways: {
  way: string;
  say(test: Case, written: Written): Said;
  name(test: Case): string;
  where(test: Case): string;
}[] = [
  ...(['sessions', 'vm_pool'] as const).flatMap((section) => [
    {
      way: `[${section}]`,
      say: ({ key }: Case, { toml }: Written) => ({ toml: `[${section}]\n${key} = ${toml}` }),
      name: ({ key }: Case) => `${section}.${key}`,
      where: () => file,
    },
    {
      way: `ALCOVE_${section.toUpperCase()}_…`,
      say: ({ key }: Case, { env }: Written) => ({ env: { [variable(section, key)]: env } }),
      name: ({ key }: Case) => `${section}.${key}`,
      where: ({ key }: Case) => variable(section, key),
    },
  ]),
  {
    way: 'the library',
    say: ({ option }, written) => ({ asked: { [option]: written.option } }),
    name: ({ option }) => `sessions.${option}`,
    where: () => 'the options of openAlcove',
  },
];

function variable(section: string, key: string): string {
  return `ALCOVE_${section}_${key}`.toUpperCase();
}

test('the table here has every key and every option once', () => {
  const keys = Object.keys(configSchema.shape.sessions.unwrap().shape);
  expect(cases.map(({ key }) => key).sort()).toEqual(keys.sort());
  expect(new Set(cases.map(({ option }) => option)).size).toBe(cases.length);
});

test('with nothing said, every option has its default', () => {
  const expected = cases.filter(({ fallback }) => fallback !== undefined);
  const defaults = Object.fromEntries(expected.map(({ option, fallback }) => [option, fallback]));
  expect(load({})).toStrictEqual(defaults);
  const silent = Object.fromEntries(cases.map(({ option }) => [option, undefined]));
  expect(load({ asked: silent })).toStrictEqual(defaults);
  const empty = Object.fromEntries(cases.map(({ key }) => [variable('sessions', key), '']));
  expect(load({ env: empty, toml: '[vm_pool]' })).toStrictEqual(defaults);
});

describe.each(ways)('$way', ({ say, name, where }) => {
  const good = cases.flatMap((test) =>
    test.good.map(([written, becomes]) => ({ ...test, written, becomes })),
  );
  test.each(good)('$option = $becomes, and nothing else', ({ becomes, written, ...test }) => {
    expect(load(say(test, written))).toStrictEqual({ ...load({}), [test.option]: becomes });
  });

  const bad = cases.flatMap((test) => test.bad.map(([written, rule]) => ({ ...test, written, rule })));
  test.each(bad)('refuses $key = $written.toml', ({ written, rule, ...test }) => {
    const field = name(test);
    const error = refusal(say(test, written));
    // Inside of lists the path goes on.
    expect(`${error.field}.`).toContain(`${field}.`);
    expect(error.message).toContain(`${error.field} in ${where(test)}: `);
    expect(error.message).toContain(`: ${rule}`);
  });
});
